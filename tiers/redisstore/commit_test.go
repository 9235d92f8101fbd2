package redisstore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gf-strata/strata/tiers"
)

// TestRoundTrips counts them: a read takes one, and so does every commit that
// nobody came before.
func TestRoundTrips(t *testing.T) {
	f := start(t)
	s, p := f.probed()
	f.set("a", `{"k":"v"}`)
	f.check(f.raw.ScriptFlush(ctx).Err())
	m := f.load(s, "a")
	m.Set("warm", 1)
	f.check(s.SetSession(ctx, "a", m, ttl)) // brings the script to the server

	base := f.base(s, "a")
	cases := []struct {
		name string
		want []string
		do   func() error
	}{
		{"read", []string{"pttl get"}, func() error { _, err := s.GetSession(ctx, "a", ttl); return err }},
		{"read nothing", []string{"pttl get"}, func() error { _, err := s.GetSession(ctx, "none", ttl); return err }},
		{"update", []string{"evalsha"}, func() error {
			_, err := s.Commit(ctx, "a", delta(tiers.Diff(base, values{"k": "w"})), ttl)
			return err
		}},
		{"update after another", []string{"evalsha", "evalsha"}, func() error {
			_, err := s.Commit(ctx, "a", delta(tiers.Diff(base, values{"k": "x"})), ttl)
			return err
		}},
		{"unchanged", []string{"pexpire getrange"}, func() error {
			_, err := s.Commit(ctx, "a", delta(tiers.Diff(base, base.Map())), ttl)
			return err
		}},
		{"create", []string{"set"}, func() error {
			_, err := s.Commit(ctx, "new", delta(tiers.Add(values{"k": "v"})), ttl)
			return err
		}},
		{"replace", []string{"set"}, func() error {
			_, err := s.Commit(ctx, "a", delta(tiers.Replace(values{"k": "v"})), ttl)
			return err
		}},
		{"slide", []string{"pexpire"}, func() error { return s.UpdateTTL(ctx, "a", ttl) }},
		{"remove", []string{"del"}, func() error { return s.RemoveAll(ctx, "a") }},
		{"disabled", nil, func() error { _, _ = s.Get(ctx, "a", "k"); return nil }},
	}
	for _, c := range cases {
		p.reset(nil)
		f.check(c.do())
		if got := p.seen(); !slices.Equal(got, c.want) {
			t.Errorf("%s: trips %q, want %q", c.name, got, c.want)
		}
	}
}

// TestTwoCommitsOfOneMap is a request that closes twice, with a change in between.
func TestTwoCommitsOfOneMap(t *testing.T) {
	f := start(t)
	s, p := f.probed()
	f.set("a", `{"k":"v","n":1}`)
	m := f.load(s, "a")
	m.Set("x", values{"i": 1})
	f.check(s.SetSession(ctx, "a", m, ttl))
	p.reset(nil)
	m.Set("y", 2)
	f.check(s.SetSession(ctx, "a", m, ttl))
	f.want("a", `{"k":"v","n":1,"x":{"i":1},"y":2}`)
	if got := p.seen(); len(got) != 1 {
		t.Errorf("the second took %q", got)
	}
}

// TestCommitReturnsWhatALoadWould compares the two for every kind of delta (law 1).
func TestCommitReturnsWhatALoadWould(t *testing.T) {
	f := start(t)
	s := f.open()
	for name, data := range kinds() {
		f.set("a", `{"old":1.0}`)
		for n, d := range []*tiers.Delta{
			delta(tiers.Diff(f.base(s, "a"), data)),
			delta(tiers.Replace(data)),
			delta(tiers.Add(data)),
		} {
			if d.Empty() {
				continue
			}
			got, err := s.Commit(ctx, "a", d, ttl)
			f.check(err)
			want := f.base(s, "a")
			if a, b := fmt.Sprintf("%#v", got.Map()), fmt.Sprintf("%#v", want.Map()); a != b {
				t.Errorf("%s %d: a commit returns %s, a read %s", name, n, a, b)
			}
			if got.Version() != want.Version() || got.Version() == "" {
				t.Errorf("%s %d: version %q, a read has %q", name, n, got.Version(), want.Version())
			}
		}
	}
}

// TestBetween has another node act between a commit's first attempt and its second,
// and between the read and the first, and before each round trip of a transaction.
func TestBetween(t *testing.T) {
	t.Run("scripts", func(t *testing.T) { actBetween(start(t), "evalsha") })
	f := start(t, scriptless...)
	for _, at := range []string{"watch get multi", "set exec"} {
		t.Run(at, func(t *testing.T) { actBetween(&fixture{T: t, server: f.server, raw: f.raw}, at) })
	}
}

// actBetween has the other node act at one of the round trips by which a server compares and writes, and at every
// other round trip.
func actBetween(f *fixture, at string) {
	other := f.open()
	set := func(content string) func() {
		return func() { f.set("a", content) }
	}
	remove := func() { f.check(other.RemoveAll(ctx, "a")) }
	cases := []struct {
		name    string
		change  func(*tiers.Snapshot) *tiers.Delta
		steps   []func() // before each attempt
		want    string
		revoked bool
	}{
		{"nobody", update(values{"k": "v", "x": 1}), nil, `{"k":"v","x":1}`, false},
		{"another key", update(values{"k": "v", "x": 1}), []func(){set(`{"k":"v","y":2}`)}, `{"k":"v","x":1,"y":2}`, false},
		{"the same key", update(values{"k": "w"}), []func(){set(`{"k":"u"}`)}, `{"k":"w"}`, false},
		{"a key removed there", update(values{"k": "v", "x": 1}), []func(){set(`{"z":3}`)}, `{"x":1,"z":3}`, false},
		{"a key removed here", update(values{"x": 1}), []func(){set(`{"k":"u","y":2}`)}, `{"x":1,"y":2}`, false},
		{"twice", update(values{"k": "v", "x": 1}), []func(){set(`{"k":"v","y":2}`), set(`{"k":"v","z":3}`)}, `{"k":"v","x":1,"z":3}`, false},
		{"removed", update(values{"k": "v", "x": 1}), []func(){remove}, "", true},
		{"changed, then removed", update(values{"k": "v", "x": 1}), []func(){set(`{"k":"u"}`), remove}, "", true},
		{"emptied", update(values{"k": "v", "x": 1}), []func(){set(`{}`)}, `{}`, true},
		{"made null", update(values{"k": "v", "x": 1}), []func(){set(`null`)}, `null`, true},
		{"made empty text", update(values{"k": "v", "x": 1}), []func(){set(``)}, ``, true},
		// A request that let go of all that it was given creates anew.
		{"removed, all let go", update(values{"x": 1}), []func(){remove}, `{"x":1}`, false},
		{"removed, all let go, nothing set", update(values{}), []func(){remove}, "", false},
		{"all let go, nothing set", update(values{}), []func(){set(`{"k":"u","y":2}`)}, `{"y":2}`, false},
		{"unchanged and there", update(values{"k": "v"}), []func(){set(`{"k":"u"}`)}, `{"k":"u"}`, false},
		{"unchanged and removed", update(values{"k": "v"}), []func(){remove}, "", true},
		{"unchanged and emptied", update(values{"k": "v"}), []func(){set(`{}`)}, `{}`, true},
		{"replaced", replace(values{"x": 1}), []func(){set(`{"y":2}`)}, `{"x":1}`, false},
		{"replaced, removed", replace(values{"x": 1}), []func(){remove}, `{"x":1}`, false},
		{"added, nobody", add(values{"x": 1}), []func(){remove}, `{"x":1}`, false},
		{"added, another was first", add(values{"x": 1}), []func(){set(`{"y":2}`)}, `{"x":1,"y":2}`, false},
		{"added, first, then removed", add(values{"x": 1}), []func(){set(`{"y":2}`), remove}, `{"x":1}`, false},
		{"added to null", add(values{"x": 1}), []func(){set(`null`)}, `{"x":1}`, false},
		{"added to empty text", add(values{"x": 1}), []func(){set(``)}, `{"x":1}`, false},
	}
	for _, c := range cases {
		f.Run(c.name, func(t *testing.T) {
			f := &fixture{T: t, server: f.server, raw: f.raw}
			s, p := f.probed()
			f.set("a", `{"k":"v"}`)
			_, err := s.Commit(ctx, "a", delta(tiers.Diff(f.base(s, "a"), values{"k": "w"})), ttl) // which finds the way
			f.check(err)
			f.set("a", `{"k":"v"}`)
			d := c.change(f.base(s, "a"))
			attempts := 0
			p.reset(func(_ int, commands string) {
				if commands != at && slices.Contains([]string{"watch get multi", "set exec", "discard"}, commands) {
					return
				}
				if attempts < len(c.steps) {
					c.steps[attempts]()
				}
				attempts++
			})
			_, err = s.Commit(ctx, "a", d, ttl)
			if errors.Is(err, tiers.ErrRevoked) != c.revoked || err != nil && !c.revoked {
				t.Fatalf("Commit returned %v", err)
			}
			f.want("a", c.want)
			if left := f.raw.PTTL(ctx, "a").Val(); c.want != "" && left <= 0 {
				t.Fatalf("the session has %v to live", left)
			}
		})
	}
}

func update(data values) func(*tiers.Snapshot) *tiers.Delta {
	return func(base *tiers.Snapshot) *tiers.Delta { return delta(tiers.Diff(base, data)) }
}

func replace(data values) func(*tiers.Snapshot) *tiers.Delta {
	return func(*tiers.Snapshot) *tiers.Delta { return delta(tiers.Replace(data)) }
}

func add(data values) func(*tiers.Snapshot) *tiers.Delta {
	return func(*tiers.Snapshot) *tiers.Delta { return delta(tiers.Add(data)) }
}

// TestScriptIsBroughtAgain loses the server's scripts, as a restart or a fail-over does.
func TestScriptIsBroughtAgain(t *testing.T) {
	f := start(t)
	s := f.open()
	f.set("a", `{"k":"v"}`)
	for n := range 3 {
		m := f.load(s, "a")
		m.Set("n", n)
		f.check(f.raw.ScriptFlush(ctx).Err())
		f.check(s.SetSession(ctx, "a", m, ttl))
		f.want("a", fmt.Sprintf(`{"k":"v","n":%d}`, n))
	}
}

// TestUnknownBase commits against a snapshot that no Load made.
func TestUnknownBase(t *testing.T) {
	f := start(t)
	s := f.open()
	base, err := tiers.NewSnapshot(values{"k": "v", "c": make(chan int)})
	f.check(err)
	f.set("a", `{"k":"v","y":2}`)
	_, err = s.Commit(ctx, "a", delta(tiers.Diff(base, values{"k": "w"})), ttl)
	f.check(err)
	f.want("a", `{"k":"w","y":2}`)
}

func TestFiveMebibytes(t *testing.T) {
	f := start(t)
	s := f.open()
	big := strings.Repeat("0123456789abcdef", 5<<16)
	f.set("a", `{"k":"v"}`)
	m := f.load(s, "a")
	m.Set("big", big)
	f.check(s.SetSession(ctx, "a", m, ttl))
	f.set("b", f.raw.Get(ctx, "a").Val())
	m = f.load(s, "b")
	m.Set("x", 1)
	f.set("b", `{"y":2,`+f.raw.Get(ctx, "a").Val()[1:])
	f.check(s.SetSession(ctx, "b", m, ttl))
	m = f.load(s, "b")
	if m.GetVar("big").String() != big || m.Size() != 4 {
		t.Fatal("the value isn't what was written")
	}
}

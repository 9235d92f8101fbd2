package redisstore_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// A server never takes a session that is larger than its limit, so that the write isn't tried again. Nothing was written.
func TestASessionThatIsTooLarge(t *testing.T) {
	addr := redistest.StartFake(t, func(command []string) string {
		switch strings.ToUpper(command[0]) {
		case "SET", "EVAL", "EVALSHA":
			return "-ERR max request size exceeded. Limit: 1048576 bytes\r\n"
		}
		return redistest.Redis6(command)
	})
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }()
	s, ctx := redisstore.New(client), t.Context()
	added, err := tiers.Add(map[string]any{"k": "1"})
	if err != nil {
		t.Fatal(err)
	}
	changed, err := tiers.Diff(tiers.Adopt(map[string]any{"k": "0"}), map[string]any{"k": "1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, delta := range []*tiers.Delta{added, changed} {
		_, alone := s.Commit(ctx, "a", delta, time.Hour)
		together := s.CommitAll(ctx, []tiers.Commit{{ID: "a", Delta: delta, TTL: time.Hour}})[0].Err
		for _, err := range []error{alone, together} {
			if err == nil || !failure.IsFinal(err) || tiers.MayBeApplied(err) || !strings.Contains(err.Error(), "larger than the server takes") {
				t.Errorf("a write returns %v", err)
			}
		}
	}
}

// TestForeignValues reads, changes and slides keys that hold no session.
func TestForeignValues(t *testing.T) {
	f := start(t)
	s := f.open()
	const hint = "; give sessions keys of their own with redisstore.Prefix"
	noJSON := "strata: redis: the key holds no session: its value isn't JSON" + hint
	noObject := "strata: redis: the key holds no session: its value is JSON, but no object" + hint
	trailing := "strata: redis: the key holds no session: something follows the JSON object" + hint
	for content, want := range map[string]string{
		secretValue:                            noJSON,
		`{"` + secretKey + `":"` + secretValue: noJSON,
		" \n":                                  noJSON,
		"\xff\x00":                             noJSON,
		`{'a':1}`:                              noJSON,
		strings.Repeat(`{"a":`, 20_000):        noJSON,
		`["` + secretValue + `"]`:              noObject,
		`"` + secretValue + `"`:                noObject,
		`12`:                                   noObject,
		`{"a":1}{"` + secretKey + `":1}`:       trailing,
		`{"a":1}` + secretValue:                trailing,
		`null ` + secretValue:                  trailing,
	} {
		f.set(secretID, `{"k":"v"}`)
		base := f.base(s, secretID)
		f.set(secretID, content)
		_, err := s.GetSession(ctx, secretID, ttl)
		_, commitErr := s.Commit(ctx, secretID, delta(tiers.Diff(base, values{"x": 1})), ttl)
		_, addErr := s.Commit(ctx, secretID, delta(tiers.Add(values{"x": 1})), ttl)
		for _, err := range []error{err, commitErr, addErr} {
			private(t, err)
			if err != nil && err.Error() != want {
				t.Errorf("%.30q: %v", content, err)
			}
		}
		f.want(secretID, content)
	}
}

// TestServersAnswers are faults that a server names.
func TestServersAnswers(t *testing.T) {
	f := start(t)
	s := f.open()
	f.set(secretID, `{"k":"v"}`)
	base := f.base(s, secretID)
	read := func() error { _, err := s.GetSession(ctx, secretID, ttl); return err }
	update := func() error {
		_, err := s.Commit(ctx, secretID, delta(tiers.Diff(base, values{secretKey: secretValue})), ttl)
		return err
	}
	touch := func() error {
		_, err := s.Commit(ctx, secretID, delta(tiers.Diff(base, base.Map())), ttl)
		return err
	}
	replace := func() error {
		_, err := s.Commit(ctx, secretID, delta(tiers.Replace(values{secretKey: secretValue})), ttl)
		return err
	}
	remove := func() error { return s.RemoveAll(ctx, secretID) }
	slide := func() error { return s.UpdateTTL(ctx, secretID, ttl) }

	refused := func(want string, ops ...func() error) {
		t.Helper()
		for _, op := range ops {
			err := op()
			private(t, err)
			var ours *tiers.Error
			var theirs redis.Error
			if !strings.Contains(err.Error(), want) || !errors.As(err, &ours) || !errors.As(err, &theirs) {
				t.Errorf("the error is %v, want %s", err, want)
			}
		}
	}
	config := func(args ...any) { t.Helper(); f.check(f.raw.Do(ctx, args...).Err()) }

	config("config", "set", "maxmemory", "1")
	refused(": OOM: the server is out of memory", update, replace)
	config("config", "set", "maxmemory", "0")

	config("replicaof", "127.0.0.1", "1")
	refused(": READONLY: the server is a replica", update, replace, touch, remove, slide)
	config("replicaof", "no", "one")

	config("acl", "setuser", "default", "-evalsha", "-eval", "-set", "-get", "-pexpire", "-del")
	refused(": NOPERM: ", read, update, replace, touch, remove, slide)
	config("acl", "setuser", "default", "+@all")
	// One that lacks the right to a single command gets no part of an operation for the whole.
	for command, ops := range map[string][]func() error{
		"get": {read, update}, "pttl": {read}, "getrange": {touch}, "pexpire": {touch, slide}, "del": {remove},
		"set": {update, replace},
	} {
		config("script", "flush")
		config("acl", "setuser", "default", "-"+command)
		want := ": NOPERM: "
		if command != "get" && command != "set" { // Redis 7.0 doesn't name those of a script
			want += "the user may not run " + command + "; grant +" + command
		}
		refused(want, ops...)
		config("acl", "setuser", "default", "+@all")
	}

	f.check(f.raw.Del(ctx, secretID).Err())
	f.check(f.raw.LPush(ctx, secretID, secretValue).Err())
	refused(": WRONGTYPE: the key holds no session", read, update, touch)
	f.check(replace()) // as StorageRedis' SETEX does
	f.want(secretID, `{"`+secretKey+`":"`+secretValue+`"}`)
	refused("strata: redis: GET: WRONGTYPE: the key holds no session; give sessions keys of their own with redisstore.Prefix", func() error {
		f.check(f.raw.Del(ctx, secretID).Err())
		f.check(f.raw.LPush(ctx, secretID, secretValue).Err())
		return read()
	})

	config("config", "set", "requirepass", "hunter2")
	locked, err := redisstore.Open(f.server.URL())
	f.check(err)
	defer func() { f.check(locked.Close(ctx)) }()
	refused(": NOAUTH: the server wants a password", func() error { return locked.RemoveAll(ctx, secretID) })
	wrong, err := redisstore.Open(strings.Replace(f.server.URL(), "//", "//:"+secretValue+"@", 1))
	f.check(err)
	defer func() { f.check(wrong.Close(ctx)) }()
	refused(": WRONGPASS: the user or password is wrong", func() error { return wrong.RemoveAll(ctx, secretID) })
}

// A server without scripts and transactions says which commands are needed.
func TestServerWithoutACommand(t *testing.T) {
	f := start(t, append(scriptless, "--rename-command", "WATCH", "")...)
	s := f.open()
	f.set(secretID, `{"k":"v"}`)
	m := f.load(s, secretID)
	m.Set("x", 1)
	err := s.SetSession(ctx, secretID, m, ttl)
	private(t, err)
	if want := "strata: redis: EVAL: ERR: the server doesn't have, or allow, the command; it needs GET, GETRANGE, SET, DEL, PTTL and PEXPIRE, and EVAL"; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("the error is %v", err)
	}
}

// failing quotes its content in its own error.
type failing struct{}

func (failing) MarshalJSON() ([]byte, error) { return nil, errors.New(secretValue) }

// TestValuesThatJSONCantEncode keeps what the session had.
func TestValuesThatJSONCantEncode(t *testing.T) {
	f := start(t)
	s := f.open()
	cycle := &profile{Name: secretValue}
	cycle.Next = cycle
	for name, value := range map[string]any{
		"channel": make(chan int), "function": func() {}, "complex": 1i, "nested": []any{values{secretKey: make(chan int)}},
		"NaN": math.NaN(), "infinity": math.Inf(-1), "number": json.Number(secretValue),
		"failing": failing{}, "raw": json.RawMessage(secretValue), "keys": map[float64]int{1: 1}, "cycle": cycle,
	} {
		const content = `{"k":"v"}`
		f.set(secretID, content)
		m := f.load(s, secretID)
		m.Set(secretKey, value)
		err := s.SetSession(ctx, secretID, m, ttl)
		private(t, err)
		f.want(secretID, content)

		for _, d := range []func(values) (*tiers.Delta, error){
			tiers.Replace, func(data values) (*tiers.Delta, error) { return tiers.Add(data) },
		} {
			delta, err := d(values{secretKey: value})
			if err == nil {
				_, err = s.Commit(ctx, secretID, delta, ttl)
			}
			private(t, err)
			f.want(secretID, content)
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// TestServerIsAway has no server behind the port.
func TestServerIsAway(t *testing.T) {
	f := start(t)
	s := f.open()
	f.set(secretID, `{"k":"v"}`)
	m := f.load(s, secretID)
	m.Set(secretKey, secretValue)
	f.server.Stop()
	for _, err := range everyCall(s, secretID) {
		private(t, err)
		if !errors.Is(err, syscall.ECONNREFUSED) || !strings.HasSuffix(err.Error(), ": connection refused") {
			t.Errorf("the error is %v", err)
		}
	}
	f.server.Restart(t)
	// The server has lost the session: what the request held isn't brought back.
	// go-redis tries by itself, about once a second, whether the server is back.
	poll.Until(t, "a write is refused", func() bool {
		return errors.Is(s.SetSession(ctx, secretID, m, ttl), tiers.ErrRevoked)
	})
	f.want(secretID, "")
}

func TestDisabledMethods(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer func() { _ = client.Close() }()
	s := redisstore.New(client)
	var base gsession.Storage = &gsession.StorageBase{}
	for _, storage := range []gsession.Storage{base, s} {
		id, err := storage.New(ctx, ttl)
		same(t, id == "", err)
		value, err := storage.Get(ctx, "a", "k")
		same(t, value == nil, err)
		data, err := storage.Data(ctx, "a")
		same(t, data == nil, err)
		size, err := storage.GetSize(ctx, "a")
		same(t, size == 0, err)
		same(t, true, storage.Set(ctx, "a", "k", "v", ttl))
		same(t, true, storage.SetMap(ctx, "a", values{"k": "v"}, ttl))
		same(t, true, storage.Remove(ctx, "a", "k"))
	}
	if s.Style(ctx) != tiers.StyleSnapshot {
		t.Error("the style isn't that of a snapshot storage")
	}
}

func same(t *testing.T, zero bool, err error) {
	t.Helper()
	if !zero || err != gsession.ErrorDisabled {
		t.Errorf("it returns a value, or %v", err)
	}
}

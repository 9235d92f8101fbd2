package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/internal/redistest"
)

// A principal's entries are read in pages: each once, however many end at the same time, whether the entries of a
// page are removed before the next one is read or not.
func TestEntriesAreReadInPages(t *testing.T) {
	const many, size = 23, 4
	ctx := context.Background()
	s, err := Open(redistest.Start(t).URL(), Prefix("s:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	x := index{s}
	for name, ttl := range map[string]func(n int) time.Duration{
		"at the same time": func(int) time.Duration { return time.Hour },
		"one by one":       func(n int) time.Duration { return time.Hour - time.Duration(n)*time.Second },
		"much later":       func(n int) time.Duration { return 20*24*time.Hour + time.Duration(n%3)*time.Hour },
	} {
		for _, remove := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, removed %t", name, remove), func(t *testing.T) {
				key := principals.KeyOf(t.Name())
				entries := make([]principals.Entry, many)
				for n := range entries {
					entries[n] = principals.Entry{
						Principal: t.Name(), Key: key, ID: fmt.Sprintf("session-%02d-0123456789", n), Tag: fmt.Sprintf("tag-%07d", many-n),
						Begun: time.Now().Add(-time.Duration(n%5) * time.Second), TTL: ttl(n),
					}
				}
				if err := x.Touch(ctx, entries); err != nil {
					t.Fatal(err)
				}
				var (
					seen  = map[string]bool{}
					after principals.Entry
				)
				for {
					page, err := x.Entries(ctx, key, after, size)
					if err != nil || len(page) > size {
						t.Fatal(page, err)
					}
					for _, e := range page {
						if seen[e.ID] || e.Compare(after) <= 0 {
							t.Errorf("%s comes twice, or in another order", e.ID)
						}
						seen[e.ID], after = true, e
					}
					if len(page) < size {
						break
					}
					if remove {
						if err := x.Leave(ctx, page); err != nil {
							t.Fatal(err)
						}
					}
				}
				if len(seen) != many {
					t.Errorf("%d of %d entries were read", len(seen), many)
				}
			})
		}
	}
}

// indexOn is the index of a store on a server of the test's own.
func indexOn(t *testing.T, server *redistest.Server) index {
	t.Helper()
	s, err := Open(server.URL(), Prefix("s:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return index{s}
}

// entryOf is an entry of a session of its own.
func entryOf(principal string, n int, ttl time.Duration) principals.Entry {
	return principals.Entry{
		Principal: principal, Key: principals.KeyOf(principal), ID: fmt.Sprintf("session-%02d-0123456789", n),
		Tag: fmt.Sprintf("tag-%07d", n), Begun: time.UnixMilli(1e12), TTL: ttl,
	}
}

// expect checks which principals are listed, and that as many are counted.
func (x index) expect(t *testing.T, want ...string) {
	t.Helper()
	var listed []string
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := x.Page(context.Background(), cursor, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page {
			listed = append(listed, p.Principal)
		}
		cursor = next
	}
	slices.Sort(listed)
	if !slices.Equal(listed, want) {
		t.Errorf("%q are listed, not %q", listed, want)
	}
	if n, err := x.Count(context.Background()); n != len(want) || err != nil {
		t.Errorf("%d are counted, not %d (%v)", n, len(want), err)
	}
}

// waitFor asks again and again, with a round trip each time: in a bubble of synctest no time passes meanwhile.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 200_000 {
		if ok() {
			return
		}
	}
	t.Fatal("never: " + what)
}

// As many principals are counted as are listed, whichever of their sessions has ended, and whether its principal was
// known then.
func TestAsManyPrincipalsAreCountedAsAreListed(t *testing.T) {
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	leave := func(e principals.Entry) {
		t.Helper()
		if err := x.Leave(ctx, []principals.Entry{e}); err != nil {
			t.Fatal(err)
		}
	}
	for n, name := range []string{"ann", "bob", "cid", "dan", "eve"} {
		if err := x.Touch(ctx, []principals.Entry{entryOf(name, n, time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	x.expect(t, "ann", "bob", "cid", "dan", "eve")
	leave(entryOf("ann", 0, time.Hour))
	x.expect(t, "bob", "cid", "dan", "eve")
	for n, name := range []string{"bob", "cid", "dan"} {
		entries, err := x.Entries(ctx, principals.KeyOf(name), principals.Entry{}, 10)
		if err != nil || len(entries) != 1 {
			t.Fatal(n, entries, err)
		}
		leave(entries[0])
	}
	x.expect(t, "eve")

	// The session that would have lived longest ends first.
	short := entryOf("fay", 5, 300*time.Millisecond)
	if err := x.Touch(ctx, []principals.Entry{short, entryOf("fay", 6, time.Hour)}); err != nil {
		t.Fatal(err)
	}
	leave(entryOf("fay", 6, time.Hour))
	waitFor(t, "the short session has ended", func() bool {
		entries, err := x.counts(ctx, 1<<codeBits, 0, []string{x.entriesKey(short.Key)})
		return err == nil && entries[0].count == 0
	})
	if n, err := x.Count(ctx); n != 1 || err != nil {
		t.Errorf("%d are counted, not 1 (%v)", n, err)
	}
	x.expect(t, "eve")
}

// Sessions end by the server's clock: this node's is years behind.
func TestPrincipalsAreCountedByTheServersClock(t *testing.T) {
	server := redistest.Start(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, x := context.Background(), indexOn(t, server)
		neighbour := "bob" // in ann's shard, whose set therefore lives on
		for x.ShardOf(principals.KeyOf(neighbour)) != x.ShardOf(principals.KeyOf("ann")) {
			neighbour += "b"
		}
		if err := x.Touch(ctx, []principals.Entry{entryOf("ann", 0, 300*time.Millisecond), entryOf(neighbour, 1, time.Hour)}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the session has ended", func() bool {
			n, err := x.Count(ctx)
			return err == nil && n == 1
		})
		x.expect(t, neighbour)
	})
}

// Sessions that a mark ends are out of the index at once, and are taken in parts; the sessions that it spares stay, and those
// that begin after it are none of its.
func TestSessionsThatAMarkEndsAreTakenInParts(t *testing.T) {
	const many = 2*mostTaken + 100
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	entries := make([]principals.Entry, many)
	for n := range entries {
		entries[n] = entryOf("ann", n, time.Hour+time.Duration(n)*time.Second)
	}
	if err := x.Touch(ctx, entries); err != nil {
		t.Fatal(err)
	}
	spared := []principals.Entry{entries[0], entries[mostTaken+10], entries[many-1]} // one of each part
	mark := principals.Mark{Nonce: "nonce-45678"}
	for _, e := range spared {
		mark.Kept = append(mark.Kept, e.Tag)
	}
	next, err := x.Mark(ctx, "ann", mark, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	later := entryOf("ann", many, time.Hour)
	if entered, err := x.Enter(ctx, later, principals.Limit{Most: 2, Refuse: true}); err != nil || entered.Refused || entered.Own != mark.Nonce {
		t.Errorf("a later log-in got %+v, %v", entered, err)
	}
	taken, parts := map[string]bool{}, 0
	for {
		some, err := next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			break
		}
		parts++
		if len(some) > mostTaken {
			t.Errorf("%d are taken at once", len(some))
		}
		for _, e := range some {
			if taken[e.ID] || e.TTL < time.Hour {
				t.Errorf("%+v is taken twice, or isn't what was entered", e)
			}
			taken[e.ID] = true
		}
	}
	if parts != 3 || len(taken) != many-len(spared) {
		t.Errorf("%d are taken in %d parts", len(taken), parts)
	}
	left, err := x.Entries(ctx, later.Key, principals.Entry{}, many)
	if err != nil || len(left) != 1+len(spared) {
		t.Errorf("%d are left, %v", len(left), err)
	}
	for _, e := range append(spared, later) {
		if taken[e.ID] || !slices.ContainsFunc(left, func(l principals.Entry) bool { return l.ID == e.ID }) {
			t.Errorf("%s isn't left", e.ID)
		}
	}
	x.expect(t, "ann")
	if err := x.Leave(ctx, left); err != nil {
		t.Error(err)
	}
	x.expect(t)
	for _, key := range x.client.Keys(ctx, "*").Val() {
		if taken := strings.HasSuffix(key, ":d:"+mark.Nonce) && x.client.PTTL(ctx, key).Val() <= time.Minute; !taken && key != x.marksKey(x.ShardOf(later.Key)) {
			t.Errorf("%s is left", key)
		}
	}
}

// repeating has each command sent twice, as if the first reply was lost.
type repeating struct{}

func (repeating) DialHook(next redis.DialHook) redis.DialHook { return next }

func (repeating) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, c redis.Cmder) error { _ = next(ctx, c); return next(ctx, c) }
}

func (repeating) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, all []redis.Cmder) error { _ = next(ctx, all); return next(ctx, all) }
}

// The client repeats a script whose reply was lost: the mark's sessions are taken all the same, each once; those that it
// spares stay, and so does one that began in between.
func TestAMarkWhoseReplyWasLostIsRepeated(t *testing.T) {
	for name, many := range map[string]int{"no session": 0, "one part": 3, "parts": mostTaken + 100} {
		t.Run(name, func(t *testing.T) {
			ctx, x := context.Background(), indexOn(t, redistest.Start(t))
			entries := make([]principals.Entry, many)
			mark := principals.Mark{Nonce: "nonce-45678"}
			for n := range entries {
				entries[n] = entryOf("ann", n, 48*time.Hour+time.Duration(n)*time.Minute)
				if n == 0 || n == many-1 {
					mark.Kept = append(mark.Kept, entries[n].Tag)
				}
			}
			if err := x.Touch(ctx, entries); err != nil {
				t.Fatal(err)
			}
			key := principals.KeyOf("ann")
			marked := func() (next principals.Next, lasts string) {
				t.Helper()
				next, err := x.Mark(ctx, "ann", mark, time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				lasts, _, _ = strings.Cut(x.client.HGet(ctx, x.marksKey(x.ShardOf(key)), string(key[:])).Val(), ";")
				return next, lasts
			}
			_, first := marked()
			later := entryOf("ann", many, time.Hour)
			if _, err := x.Enter(ctx, later, principals.Limit{}); err != nil {
				t.Fatal(err)
			}
			x.client.AddHook(repeating{})
			next, second := marked()
			if second < first {
				t.Errorf("the mark lasts until %s, and %s before", second, first)
			}
			taken := map[string]bool{}
			for {
				some, err := next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if len(some) == 0 {
					break
				}
				for _, e := range some {
					if taken[e.ID] {
						t.Errorf("%s is taken twice", e.ID)
					}
					taken[e.ID] = true
				}
			}
			if len(taken) != many-len(mark.Kept) {
				t.Errorf("%d of %d are taken", len(taken), many)
			}
			left, err := x.Entries(ctx, key, principals.Entry{}, many+2)
			if err != nil || len(left) != 1+len(mark.Kept) {
				t.Errorf("%d are left, %v", len(left), err)
			}
			for _, e := range left {
				if taken[e.ID] {
					t.Errorf("%s is left and taken", e.ID)
				}
			}
		})
	}
}

// A log-in of a principal with very many sessions doesn't hold the server up for long.
func TestALimitReadsABoundedPart(t *testing.T) {
	const many = mostCounted + 100
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	entries := make([]principals.Entry, many)
	for n := range entries {
		entries[n] = entryOf("ann", n, time.Hour+time.Duration(n)*time.Second)
		entries[n].Begun = entries[n].Begun.Add(-time.Duration(n) * time.Second) // the oldest has the longest to live
	}
	if err := x.Touch(ctx, entries); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		limit   principals.Limit
		refused bool
		excess  int
	}{
		{principals.Limit{Most: many, Refuse: true}, true, 0},
		{principals.Limit{Most: many + 1, Refuse: true}, false, 0},
		{principals.Limit{Most: many - 5}, false, 7}, // with the one before
		{principals.Limit{Most: 3}, false, mostCounted},
		{principals.Limit{Most: mostCounted, PerClass: true}, false, 1},
		{principals.Limit{Most: mostCounted, PerClass: true, Refuse: true}, true, 0},
	} {
		e := entryOf("ann", many+len(entries), time.Hour+many*time.Second)
		entries = append(entries, e)
		entered, err := x.Enter(ctx, e, c.limit)
		if err != nil || entered.Refused != c.refused || len(entered.Excess) != c.excess {
			t.Errorf("%+v: refused %t, %d in excess, %v", c.limit, entered.Refused, len(entered.Excess), err)
		}
		for n, other := range entered.Excess[:min(1, len(entered.Excess))] {
			if want := entries[mostCounted-1-n].ID; other.ID != want {
				t.Errorf("%+v: %s ends first, not %s", c.limit, other.ID, want)
			}
		}
	}
}

// An entry says when its session was used last, however long it lives.
func TestTheLastUseIsKnownHoweverLongASessionLives(t *testing.T) {
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	lives := []time.Duration{900 * time.Millisecond, 30 * time.Minute, 36*time.Hour + 30*time.Minute, 20*24*time.Hour + 1, 365 * 24 * time.Hour, 0, 100 * 365 * 24 * time.Hour}
	for n, ttl := range lives {
		name := fmt.Sprint("user", n)
		before := time.Now()
		if err := x.Touch(ctx, []principals.Entry{entryOf(name, n, ttl)}); err != nil {
			t.Fatal(err)
		}
		after := time.Now()
		entries, err := x.Entries(ctx, principals.KeyOf(name), principals.Entry{}, 10)
		if err != nil || len(entries) != 1 {
			t.Fatal(entries, err)
		}
		seen := entries[0].Expires.Add(-entries[0].TTL)
		if seen.Before(before.Add(-time.Second)) || seen.After(after.Add(time.Second)) { // the unit of a ttl
			t.Errorf("ttl %v: seen %v after it was", ttl, seen.Sub(before))
		}
	}
}

// A mark outlives the sessions that the index knows: one that lives longer than marks do would be there again.
func TestAMarkOutlivesTheSessions(t *testing.T) {
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	e := entryOf("ann", 0, 365*24*time.Hour)
	for name, mark := range map[string]func() error{
		"own":   func() error { _, err := x.Mark(ctx, "ann", principals.Mark{Nonce: "n"}, time.Hour); return err },
		"all":   func() error { return x.MarkAll(ctx, principals.Mark{Nonce: "n"}, time.Hour) },
		"ended": func() error { return x.MarkEnded(ctx, e, "r", time.Hour) },
	} {
		if err := x.client.FlushDB(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(x.Touch(ctx, []principals.Entry{e}), mark()); err != nil {
			t.Fatal(err)
		}
		marks := x.marksKey(x.ShardOf(e.Key))
		for _, value := range x.client.HVals(ctx, marks).Val() {
			until, _, _ := strings.Cut(value, ";")
			tenths, err := strconv.ParseInt(until, 10, 64)
			if err != nil || time.UnixMilli(tenths*100).Before(time.Now().Add(e.TTL)) {
				t.Errorf("%s: the mark lasts until %s, %v", name, until, err)
			}
		}
		if left := x.client.PTTL(ctx, marks).Val(); left < e.TTL {
			t.Errorf("%s: the marks of the shard live for %v", name, left)
		}
	}
}

// The age of an entry is by the server's clock, wherever it is read: this node's is years behind, and the one where the
// session began was years ahead.
func TestTheAgeOfAnEntryIsByTheServersClock(t *testing.T) {
	server := redistest.Start(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, x := context.Background(), indexOn(t, server)
		first, second := entryOf("ann", 0, 30*24*time.Hour), entryOf("ann", 1, time.Hour)
		first.Begun = time.UnixMilli(4e12)
		aged := func(name string, all []principals.Entry, err error) {
			t.Helper()
			if err != nil || len(all) != 1 || all[0].ID != first.ID || all[0].Age < 0 || all[0].Age > time.Hour {
				t.Errorf("%s: %+v, %v", name, all, err)
			}
		}
		if err := x.Touch(ctx, []principals.Entry{first}); err != nil {
			t.Fatal(err)
		}
		entries, err := x.Entries(ctx, first.Key, principals.Entry{}, 10)
		aged("listed", entries, err)
		entered, err := x.Enter(ctx, second, principals.Limit{Most: 1})
		aged("beyond a limit", entered.Excess, err)
		next, err := x.Mark(ctx, "ann", principals.Mark{Nonce: "n", Kept: []string{second.Tag}}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		entries, err = next(ctx)
		aged("ended", entries, err)
		waitFor(t, "the entry grows older", func() bool {
			entries, err := x.Entries(ctx, second.Key, principals.Entry{}, 10)
			return err == nil && len(entries) == 1 && entries[0].Age >= 200*time.Millisecond
		})
	})
}

package redisstore

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

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

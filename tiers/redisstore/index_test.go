package redisstore

import (
	"context"
	"fmt"
	"testing"
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

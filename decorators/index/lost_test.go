package index

import (
	"context"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/tiers"
)

// All that the store held is lost, as by FLUSHDB, while a cache below still has a session that a mark has ended: the
// mark is gone, and the session is over all the same.
func TestASessionOutlivesNoMarkThatIsLost(t *testing.T) {
	const id = "session-0123456789"
	ctx := context.Background()
	type loss struct {
		s     *Storage
		cache *cache
		mark  func()
		flush func()
	}
	for name, test := range map[string]func(t *testing.T, l loss){
		"the index is notified before it judges": func(t *testing.T, l loss) {
			l.mark()
			read := l.cache.old
			l.cache.old = tiers.Read{}
			below := l.s.Storage
			l.s.Storage = &fetched{Storage: below, instead: func() tiers.Read {
				l.s.Storage = below
				l.flush()
				l.s.marks.invalidateAll()
				return read
			}}
		},
		"nobody is notified yet": func(t *testing.T, l loss) {
			l.mark()
			l.flush()
		},
		"everybody's mark, nobody is notified yet": func(t *testing.T, l loss) {
			endAll(t, l.s, true)
			l.s.marks.invalidateAll()
			if _, err := l.s.marks.of(ctx, principals.KeyOf("ann")); err != nil {
				t.Fatal(err)
			}
			l.flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := node(t)
			below, old := cached(t, s, id)
			below.old = old
			test(t, loss{
				s: s, cache: below,
				mark: func() {
					endAll(t, s, false)
					s.marks.invalidateAll()
					if _, err := s.marks.of(ctx, principals.KeyOf("ann")); err != nil {
						t.Fatal(err)
					}
				},
				flush: func() {
					m := s.indexer.(*memory)
					m.mu.Lock()
					defer m.mu.Unlock()
					m.own, m.all, m.entries = map[principals.Key]memoryMark{}, memoryMark{}, map[principals.Key]*principal{}
					if err := below.Storage.RemoveAll(ctx, id); err != nil {
						t.Error(err)
					}
				},
			})
			if isAnns(t, s, id) {
				t.Error("the session lives again")
			}
		})
	}
}

// fetched returns something else in place of what is loaded.
type fetched struct {
	tiers.Storage
	instead func() tiers.Read
}

func (f *fetched) Load(context.Context, string, time.Duration) (tiers.Read, error) {
	return f.instead(), nil
}

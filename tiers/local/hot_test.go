package local_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// A session that others have pushed out of the hot ones is served from memory as it
// was: data, types, expiry and version.
func TestAPackedSessionIsTheSame(t *testing.T) {
	const sessions = 700 // and 256 places
	synctest.Test(t, func(t *testing.T) {
		s := teststore.New()
		l := local.New(s, local.Exclusive(), local.MaxBytes(2<<20))
		defer l.Close(ctx)
		data := func(n int) map[string]any {
			return map[string]any{"n": json.Number(fmt.Sprint(n)), "name": fmt.Sprint("user ", n), "admin": n%2 == 0, "none": nil,
				"cart": []any{map[string]any{"sku": fmt.Sprint("s", n)}, json.Number("2")}}
		}
		before := make([]*tiers.Snapshot, sessions)
		for n := range before {
			s.Put(fmt.Sprint(n), data(n), time.Duration(n+1)*time.Minute)
			before[n] = load(t, l, fmt.Sprint(n)).Snapshot
			synctest.Wait()
		}
		for range 2 { // packed, and perhaps hot
			for n := range before {
				read := load(t, l, fmt.Sprint(n))
				synctest.Wait() // ristretto has got the one that it has pushed out
				at, known := read.Snapshot.Expires()
				was, _ := before[n].Expires()
				if read.Outcome != tiers.OutcomeHit || !known || !at.Equal(was) || !read.Snapshot.Same(before[n]) ||
					read.Snapshot.Version() != before[n].Version() {
					t.Fatalf("session %d: outcome %v, expires in %v (known: %v), want a hit, %v, and the same data",
						n, read.Outcome, time.Until(at), known, time.Until(was))
				}
			}
		}
		if loads, _, _ := s.Count(); loads != sessions {
			t.Errorf("%d loads, want one for each of %d sessions", loads, sessions)
		}
	})
}

// Sessions that a store keeps for ever, and those whose Go types can't be packed, too.
func TestASessionOfGoTypesIsKeptUnpacked(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, _ *source, l *local.Storage) {
		type cart struct{ Items []int }
		s.Put("typed", map[string]any{"cart": cart{[]int{1}}}, ttl)
		load(t, l, "typed")
		for n := range 20_000 {
			id := fmt.Sprint("other", n)
			s.Put(id, map[string]any{"k": "v"}, ttl)
			load(t, l, id)
		}
		synctest.Wait() // ristretto has got what was pushed out
		read := load(t, l, "typed")
		if got, ok := read.Snapshot.Get("cart").(cart); !ok || read.Outcome != tiers.OutcomeHit || got.Items[0] != 1 {
			t.Errorf("outcome %v and %T", read.Outcome, read.Snapshot.Get("cart"))
		}
	}, local.MaxBytes(64<<20)) // none is evicted
}

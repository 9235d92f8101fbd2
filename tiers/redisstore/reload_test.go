package redisstore_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// Sessions that are read together are what each Load would return, in one round trip,
// whether the caller knows what they are, were, or nothing.
func TestLoadAllIsEachLoad(t *testing.T) {
	f := start(t)
	s, p := f.probed()
	f.set("same", `{"n":1,"list":[1,2]}`)
	f.set("changed", `{"n":1}`)
	f.set("emptied", `{"n":1}`)
	f.set("gone", `{"n":1}`)
	known := map[string]*tiers.Snapshot{}
	for _, id := range []string{"same", "changed", "emptied", "gone"} {
		known[id] = f.base(s, id).ReadAt(time.Now())
	}
	f.set("changed", `{"n":2}`)
	f.set("emptied", ``)
	f.check(f.raw.Del(ctx, "gone").Err())
	f.set("unknown", `{"n":3}`)
	f.check(f.raw.PExpire(ctx, "same", time.Minute).Err()) // since it is known
	f.check(f.raw.Persist(ctx, "unknown").Err())
	f.set("foreign", `[1]`)
	f.check(f.raw.LPush(ctx, "list", 1).Err())
	known["foreign"], known["list"] = known["same"], known["same"]

	ids := []string{"same", "changed", "emptied", "gone", "unknown", "foreign", "list", "none", strings.Repeat("long", 1<<15)}
	loads := make([]tiers.Reload, len(ids))
	for n, id := range ids {
		loads[n] = tiers.Reload{ID: id, TTL: ttl, Known: known[id]}
	}
	p.reset(nil)
	results := s.LoadAll(ctx, loads)
	if trips := p.seen(); len(trips) != 1 {
		t.Errorf("%d round trips, want one", len(trips))
	}
	for n, id := range ids {
		want, wantErr := s.Load(ctx, id, ttl)
		got, err := results[n].Read, results[n].Err
		if fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("read %d together: error %v, alone %v", n, err, wantErr)
		}
		if got.Outcome != want.Outcome || (got.Snapshot == nil) != (want.Snapshot == nil) {
			t.Errorf("read %d together isn't what it is alone", n)
		}
		if want.Snapshot == nil || got.Snapshot == nil {
			continue
		}
		if !reflect.DeepEqual(got.Snapshot.Map(), want.Snapshot.Map()) || got.Snapshot.Version() != want.Snapshot.Version() ||
			got.Snapshot.Read() != want.Snapshot.Read() {
			t.Errorf("read %d together holds %v, alone %v", n, got.Snapshot.Map(), want.Snapshot.Map())
		}
		at, known := got.Snapshot.Expires()
		if wantAt, wantKnown := want.Snapshot.Expires(); known != wantKnown || at.IsZero() != wantAt.IsZero() || at.Sub(wantAt).Abs() > 10*time.Second {
			t.Errorf("read %d together expires at %v, alone at %v", n, at, wantAt)
		}
	}
	if len(s.LoadAll(ctx, nil)) != 0 {
		t.Error("nothing was asked for, and something was returned")
	}
}

func TestLoadAllWithoutAServer(t *testing.T) {
	server := redistest.Start(t)
	s := redisstore.New(server.Client())
	server.Stop()
	for _, result := range s.LoadAll(ctx, []tiers.Reload{{ID: "a", TTL: ttl}, {ID: "b", TTL: ttl}}) {
		if result.Err == nil {
			t.Error("a read succeeded without a server")
		}
		private(t, result.Err)
	}
}

func TestLoadAllOfACluster(t *testing.T) {
	c := startCluster(t)
	s := redisstore.New(c.Client())
	loads := make([]tiers.Reload, 100)
	for n := range loads {
		loads[n] = tiers.Reload{ID: itoa(n), TTL: ttl}
		if _, err := s.Commit(ctx, itoa(n), delta(tiers.Add(values{"n": n})), ttl); err != nil {
			t.Fatal(err)
		}
	}
	for n, r := range s.LoadAll(ctx, loads) {
		if r.Err != nil || fmt.Sprint(r.Read.Snapshot.Get("n")) != itoa(n) {
			t.Errorf("session %d: %v, %v", n, r.Read.Snapshot, r.Err)
		}
	}
}

// A commit returns what a Load returns after it, whatever was set, over and over.
func TestACommitReturnsWhatALoadDoes(t *testing.T) {
	f := start(t)
	s := f.open()
	keys := []string{"a", "b", "ä", "<x>", "", "\xff", "\xfe", "�"}
	var kept []any
	for _, data := range kinds() {
		for _, value := range data {
			kept = append(kept, value)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	f.set("a", `{"a":1}`)
	state := f.base(s, "a")
	for round := range 500 {
		data := state.Map()
		for range random.IntN(3) {
			delete(data, keys[random.IntN(len(keys))])
		}
		for range 1 + random.IntN(3) {
			data[keys[random.IntN(len(keys))]] = kept[random.IntN(len(kept))]
		}
		got, err := s.Commit(ctx, "a", delta(tiers.Diff(state, data)), ttl)
		if err != nil {
			t.Fatal(err)
		}
		if state = f.base(s, "a"); got != nil && (got.Version() != state.Version() || !reflect.DeepEqual(got.Map(), state.Map())) {
			t.Fatalf("commit %d returns %#v, a load %#v", round, got.Map(), state.Map())
		}
		if got != nil && random.IntN(2) == 0 {
			state = got
		}
	}
}

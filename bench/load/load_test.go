package load

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/errors/gerror"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/bench/peers"
)

var ctx = context.Background()

// memory is StorageMemory as a subject, with claims that a test chooses, and perhaps
// with results of its own.
func memory(t *testing.T, change func(gsession.Storage) gsession.Storage) peers.Node {
	t.Helper()
	for _, s := range peers.All() {
		if s.Name == "StorageMemory" {
			node, err := s.Open(peers.Env{TTL: peers.TTL})
			if err != nil {
				t.Fatal(err)
			}
			if change == nil {
				return node
			}
			return changed{node, gsession.New(peers.TTL, change(node.Storage()))}
		}
	}
	t.Fatal("no StorageMemory")
	return nil
}

// changed is a node behind another storage.
type changed struct {
	peers.Node
	manager *gsession.Manager
}

func (c changed) Begin(ctx context.Context, id string) peers.Request {
	return peers.OfSession(c.manager.New(ctx, id))
}

// mixedUp returns another session's data for one id.
type mixedUp struct {
	gsession.Storage
	id, other string
}

func (m mixedUp) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if id == m.id {
		id = m.other
	}
	return m.Storage.GetSession(ctx, id, ttl)
}

func seeded(t *testing.T, node peers.Node, shape Shape, n int) []string {
	t.Helper()
	ids := IDs(1, n)
	if err := node.Seed(ctx, ids, shape.Data); err != nil {
		t.Fatal(err)
	}
	return ids
}

func isWrong(err error) bool {
	var wrong Wrong
	return errors.As(err, &wrong)
}

func TestRightAnswersPass(t *testing.T) {
	for _, shape := range []Shape{TenKeys, TwoKiB, Large, Nested} {
		node := memory(t, nil)
		l := New(peers.Subject{}, node, shape, seeded(t, node, shape, 3))
		ops := []Op{Read, Change, Read, Hit, Login, Change, Read}
		if shape == Nested {
			ops = append(ops, Cart, Cart)
		}
		for turn := range 200 {
			for _, op := range append(ops, Read) {
				if err := l.Do(ctx, op, turn%3, turn); err != nil {
					t.Fatalf("%s, %s: %v", shape, op, err)
				}
			}
		}
		if err := l.Do(ctx, Logout, 1, 0); err != nil {
			t.Errorf("%s: %v", shape, err)
		}
		if err := l.Gone(ctx, 1); err != nil {
			t.Errorf("%s: %v", shape, err)
		}
		if n := l.Stale.Load(); n != 0 {
			t.Errorf("%s: %d results are called stale, none was", shape, n)
		}
	}
}

func TestAnotherSessionsDataIsFound(t *testing.T) {
	ids := IDs(1, 2)
	node := memory(t, func(s gsession.Storage) gsession.Storage { return mixedUp{s, ids[0], ids[1]} })
	l := New(peers.Subject{}, node, TenKeys, seeded(t, node, TenKeys, 2))
	for _, op := range []Op{Read, Change, Logout} {
		if err := l.Do(ctx, op, 0, 0); !isWrong(err) {
			t.Errorf("%s returns %v, want a wrong answer", op, err)
		}
	}
	if err := l.Do(ctx, Read, 1, 0); err != nil {
		t.Errorf("the session that is right returns %v", err)
	}
}

func TestSharedDataIsFound(t *testing.T) {
	node := memory(t, nil)
	ids := seeded(t, node, Nested, 1)
	honest := New(peers.Subject{}, node, Nested, ids)
	for range 3 {
		if err := honest.Do(ctx, Cart, 0, 0); err != nil {
			t.Fatalf("a subject that doesn't claim to be isolated: %v", err)
		}
	}
	claims := New(peers.Subject{Isolated: true}, node, Nested, ids)
	if err := claims.Do(ctx, Cart, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := claims.Do(ctx, Cart, 0, 0); !isWrong(err) {
		t.Errorf("a subject that shares what it claims to keep apart returns %v, want a wrong answer", err)
	}
}

func TestMissingSessionsAreFound(t *testing.T) {
	node := memory(t, nil)
	ids := seeded(t, node, TenKeys, 1)
	if err := node.Storage().RemoveAll(ctx, ids[0]); err != nil {
		t.Fatal(err)
	}
	if err := New(peers.Subject{}, node, TenKeys, ids).Do(ctx, Read, 0, 0); !isWrong(err) {
		t.Errorf("a session that is gone returns %v, want a wrong answer", err)
	}
	torn := New(peers.Subject{Torn: true}, node, TenKeys, ids)
	if err := torn.Do(ctx, Read, 0, 0); err != nil || torn.Stale.Load() == 0 {
		t.Errorf("a subject that is torn returns %v with %d stale, want nil and some", err, torn.Stale.Load())
	}
}

// half is a store that is read while it writes a file.
type half struct{ gsession.Storage }

func (half) GetSession(context.Context, string, time.Duration) (*gmap.StrAnyMap, error) {
	return nil, gerror.Wrap(io.ErrUnexpectedEOF, "json.UnmarshalUseNumber failed")
}

func TestASessionThatIsReadHalfWrittenIsStale(t *testing.T) {
	node := memory(t, func(s gsession.Storage) gsession.Storage { return half{s} })
	ids := []string{ID(1, 0)}
	for _, op := range []Op{Read, Change} {
		torn := New(peers.Subject{Torn: true}, node, TenKeys, ids)
		if err := torn.Do(ctx, op, 0, 0); err != nil || torn.Stale.Load() == 0 {
			t.Errorf("%s: a subject that is torn returns %v with %d stale, want nil and some", op, err, torn.Stale.Load())
		}
		if err := New(peers.Subject{}, node, TenKeys, ids).Do(ctx, op, 0, 0); err == nil {
			t.Errorf("%s: another subject may return half a session", op)
		}
	}
}

// A store that goes back to what it held before.
func TestStaleResultsAreCounted(t *testing.T) {
	node := memory(t, nil)
	ids := seeded(t, node, TenKeys, 1)
	l := New(peers.Subject{}, node, TenKeys, ids)
	if err := l.Do(ctx, Change, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Do(ctx, Read, 0, 0); err != nil || l.Stale.Load() != 0 {
		t.Fatalf("%v, %d stale", err, l.Stale.Load())
	}
	seeded(t, node, TenKeys, 1)
	if err := l.Do(ctx, Read, 0, 0); err != nil {
		t.Fatal(err)
	}
	if n := l.Stale.Load(); n != 1 {
		t.Errorf("%d results are stale, want 1", n)
	}
}

func TestOverlappingWritesHaveNoOrder(t *testing.T) {
	var s slot
	first, alone := s.begin()
	second, alone2 := s.begin()
	s.end(second, alone2)
	s.end(first, alone)
	if floor := s.floor.Load(); floor != 0 {
		t.Errorf("after two writes that overlapped, the floor is %d, want 0", floor)
	}
	third, alone := s.begin()
	s.end(third, alone)
	if floor := s.floor.Load(); floor != third {
		t.Errorf("after one on its own, the floor is %d, want %d", floor, third)
	}
}

func TestChecksOfValues(t *testing.T) {
	id, other := ID(1, 1), ID(1, 2)
	for _, shape := range []Shape{TenKeys, TwoKiB} {
		data := shape.Data(id)
		if err := shape.checkUnchanged(id, "key3", data["key3"]); err != nil {
			t.Errorf("%s: %v", shape, err)
		}
		if n, err := shape.checkChanged(id, "key4", shape.changed(id, "key4", 17)); err != nil || n != 17 {
			t.Errorf("%s: %d, %v, want 17", shape, n, err)
		}
		for _, v := range []any{nil, 3, "", "x", data["key4"], shape.Data(other)["key3"], data["key3"].(string) + "=", shape.changed(id, "key3", 1)} {
			if err := shape.checkUnchanged(id, "key3", v); !isWrong(err) {
				t.Errorf("%s: %v passes for key3", shape, v)
			}
		}
		for _, v := range []any{nil, "", shape.changed(other, "key4", 1), shape.changed(id, "key5", 1), id[:nameLen] + ".key4#x"} {
			if _, err := shape.checkChanged(id, "key4", v); !isWrong(err) {
				t.Errorf("%s: %v passes for key4", shape, v)
			}
		}
	}
}

func TestServedResponsesAreChecked(t *testing.T) {
	node := memory(t, nil)
	ids := seeded(t, node, TenKeys, 2)
	l := New(peers.Subject{}, node, TenKeys, ids)
	body, err := l.Serve(node.Begin(ctx, ids[0]), Change, 0, 0, &Serving{})
	if err != nil {
		t.Fatal(err)
	}
	if err = CheckServed(ids[0], []byte(body)); err != nil {
		t.Error(err)
	}
	for _, body := range []string{"", body + "x", ids[1][:nameLen], "        an error"} {
		if err = CheckServed(ids[0], []byte(body)); !isWrong(err) {
			t.Errorf("%q passes", body)
		}
	}
}

func TestVisitsFollowZipfsLaw(t *testing.T) {
	const sessions, visits = 1000, 1_000_000
	law, random, counts := Zipf(sessions), rand.NewPCG(1, 2), make([]float64, sessions)
	for range visits {
		counts[law.Pick(random.Uint64())]++
	}
	total := 0.0
	for n := range sessions {
		total += math.Pow(float64(n+1), -1.01)
	}
	for _, n := range []int{0, 1, 9, 99} {
		want := visits * math.Pow(float64(n+1), -1.01) / total
		if math.Abs(counts[n]-want) > 6*math.Sqrt(want) {
			t.Errorf("session %d has %v visits, want %.0f", n, counts[n], want)
		}
	}
	if slices.Contains(counts, 0) {
		t.Error("a session has no visit")
	}
}

func TestUpdatesThatAServerLosesAreCounted(t *testing.T) {
	node := memory(t, nil)
	ids := seeded(t, node, TenKeys, 4)
	l := New(peers.Subject{}, node, TenKeys, ids)
	serve := func(n int) (peers.Request, *Serving) {
		r, v := node.Begin(ctx, ids[n]), &Serving{}
		if _, err := l.Serve(r, Change, n, 0, v); err != nil {
			t.Fatal(err)
		}
		return r, v
	}
	r, v := serve(1)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	v.Done()
	if err := l.Sweep(ctx); err != nil || l.Stale.Load() != 0 {
		t.Fatalf("%v, %d stale, want none", err, l.Stale.Load())
	}
	if err := node.Seed(ctx, ids[1:2], TenKeys.Data); err != nil { // as if the change had been lost
		t.Fatal(err)
	}
	if err := l.Sweep(ctx); err != nil || l.Stale.Load() != 1 {
		t.Errorf("%v, %d stale, want the one that was lost", err, l.Stale.Load())
	}
	if _, err := l.Serve(node.Begin(ctx, ids[1]), Read, 1, 0, &Serving{}); err != nil || l.Stale.Load() != 2 {
		t.Errorf("%v, %d stale, want also what a request has seen", err, l.Stale.Load())
	}
	// One whose session isn't closed may not be seen yet.
	_, _ = serve(2)
	before := l.Stale.Load()
	if err := node.Seed(ctx, ids[2:3], TenKeys.Data); err != nil {
		t.Fatal(err)
	}
	if err := l.Do(ctx, Read, 2, 0); err != nil || l.Stale.Load() != before {
		t.Errorf("%v, a write that hasn't ended is missed", err)
	}
}

func TestIDsAreOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for series := range 64 {
		for _, id := range IDs(series, 1000) {
			if len(id) != 32 || seen[id[:nameLen]] {
				t.Fatalf("id %s of series %d has %d bytes, or its name is taken", id, series, len(id))
			}
			seen[id[:nameLen]] = true
		}
	}
	if strings.ContainsAny(ID(1, 1), ".#/") {
		t.Error("an id holds what the values use as separators")
	}
}

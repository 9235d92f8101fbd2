package layer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// fleet are nodes on one server.
type fleet struct {
	server *redistest.Server
	prefix string
	chains []*layer.Stack
	users  []*layer.Users
	client redis.UniversalClient
}

// newFleet makes nodes whose announcements arrive.
func newFleet(t *testing.T, nodes int, opts ...layer.IndexedOption) *fleet {
	t.Helper()
	return fleetOf(t, nodes, func() []layer.Decorator {
		return []layer.Decorator{layer.Coalesced(), layer.Local(), layer.Indexed(userOf, opts...), layer.Traced()}
	})
}

func fleetOf(t *testing.T, nodes int, decorators func() []layer.Decorator) *fleet {
	t.Helper()
	f := &fleet{server: redistest.Start(t), prefix: "p:"}
	f.client = client(t, f.server)
	for range nodes {
		f.join(t, decorators()...)
	}
	return f
}

func (f *fleet) join(t *testing.T, decorators ...layer.Decorator) *layer.Stack {
	t.Helper()
	store := redisstore.New(client(t, f.server), redisstore.Prefix(f.prefix))
	chain := layer.Chain(store, decorators...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(chain.Close(ctx), store.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	f.chains = append(f.chains, chain)
	f.users = append(f.users, layer.Principals(chain))
	return chain
}

func (f *fleet) device(node int, id string) device { return device{f.chains[node], id} }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !polled(20*time.Second, ok) {
		t.Fatalf("%s: not within 20 s", what)
	}
}

func TestSessionsAreListedAndEndedOnAllNodes(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 2)
	for n := range 5 {
		f.device(n%2, fmt.Sprintf("session-%d-0123456789", n)).logIn(t, "alice")
	}
	f.device(0, "bob-0123456789").logIn(t, "bob")
	for node := range 2 {
		list, err := f.users[node].List(ctx, "alice")
		if err != nil || len(list) != 5 {
			t.Fatalf("node %d lists %d sessions, %v", node, len(list), err)
		}
		for _, s := range list {
			if time.Since(s.Begun) > time.Minute || time.Since(s.Seen) > time.Minute || time.Since(s.Seen) < -time.Second {
				t.Errorf("begun %v, seen %v", s.Begun, s.Seen)
			}
		}
	}
	page, next, err := f.users[1].All(ctx, "")
	if err != nil || next != "" || len(page) != 2 {
		t.Errorf("the page is %v, %q, %v", page, next, err)
	}
	for _, p := range page {
		if p.Sessions != map[string]int{"alice": 5, "bob": 1}[p.Principal] {
			t.Errorf("%v", p)
		}
	}
	if n, err := f.users[0].Count(ctx); n != 2 || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
	keep, err := f.users[0].Handle(ctx, "session-3-0123456789")
	if err != nil || keep == "" {
		t.Fatal(keep, err)
	}
	ended, err := f.users[0].RevokeAll(ctx, "alice", layer.ReasonPasswordChanged, keep)
	if ended != 4 || err != nil {
		t.Errorf("%d ended, %v", ended, err)
	}
	for n := range 5 {
		id := fmt.Sprintf("session-%d-0123456789", n)
		want := map[int]string{3: "alice"}[n]
		if got := f.device(0, id).user(t); got != want {
			t.Errorf("on the node itself session %d is %q's", n, got)
		}
		eventually(t, "the other node", func() bool { return f.device(1, id).user(t) == want })
	}
	if f.device(1, "bob-0123456789").user(t) != "bob" {
		t.Error("bob is out")
	}
	if reason, err := f.users[1].Reason(ctx, "session-1-0123456789"); reason != layer.ReasonPasswordChanged || err != nil {
		t.Errorf("the reason is %q, %v", reason, err)
	}
	if list, err := f.users[1].List(ctx, "alice"); len(list) != 1 || err != nil {
		t.Errorf("%v are left, %v", list, err)
	}
	if err := f.users[1].Revoke(ctx, keep, layer.ReasonEndedByAdmin); err != nil {
		t.Error(err)
	}
	if f.device(1, "session-3-0123456789").user(t) != "" {
		t.Error("the session that was kept isn't ended")
	}
}

// A session that the index has lost is over by the mark, on all nodes, without a word of its own.
func TestASessionThatTheIndexHasLostIsEnded(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 2)
	lost := "lost-0123456789"
	f.device(0, lost).logIn(t, "alice")
	if f.device(1, lost).user(t) != "alice" {
		t.Fatal("not logged in")
	}
	keys, err := f.client.Keys(ctx, f.prefix+"strata:{*}:i:*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	running := f.device(1, lost).open()
	running.MustSet("late", true)
	if err := f.client.Del(ctx, keys...).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := f.users[0].RevokeAll(ctx, "alice", layer.ReasonEndedByAdmin); n != 0 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	if f.device(0, lost).user(t) != "" {
		t.Error("it lives on the node that ended it")
	}
	eventually(t, "the other node", func() bool { return f.device(1, lost).user(t) == "" })
	if err := running.Close(); !errors.Is(err, layer.ErrRevoked) || layer.ReasonOf(err) != layer.ReasonEndedByAdmin {
		t.Errorf("a running request is answered %v, reason %q", err, layer.ReasonOf(err))
	}
	if n := f.client.Exists(ctx, f.prefix+lost).Val(); n != 0 {
		t.Error("it is in the store")
	}
}

// However many log in at once, on however many nodes, there are never more than the limit.
func TestTheLimitHoldsWhereManyLogInAtOnce(t *testing.T) {
	for name, at := range map[string]struct {
		opt     layer.IndexedOption
		refused bool
	}{
		"EndOldest": {opt: layer.Limit(3, layer.EndOldest)},
		"RefuseNew": {opt: layer.Limit(3, layer.RefuseNew), refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			f := newFleet(t, 10, at.opt)
			var (
				all     sync.WaitGroup
				mu      sync.Mutex
				refused int
			)
			for n := range 100 {
				all.Add(1)
				go func() {
					defer all.Done()
					err := f.device(n%10, fmt.Sprintf("racing-%d-0123456789", n)).set("user", "alice")
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
					case errors.Is(err, layer.ErrLimit) && at.refused, errors.Is(err, layer.ErrRevoked):
						refused++
					default:
						t.Error(err)
					}
				}()
			}
			all.Wait()
			for node := range f.chains {
				eventually(t, "the limit", func() bool {
					left := 0
					for n := range 100 {
						if f.device(node, fmt.Sprintf("racing-%d-0123456789", n)).user(t) != "" {
							left++
						}
					}
					if at.refused && left > 3 {
						t.Fatalf("%d sessions", left)
					}
					return left == 3
				})
			}
			if list, err := f.users[0].List(ctx, "alice"); len(list) != 3 || err != nil {
				t.Errorf("%d are listed, %v", len(list), err)
			}
			if at.refused && refused != 97 {
				t.Errorf("%d are refused", refused)
			}
		})
	}
}

package layer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// Whose the sessions are is known at every place of a chain, on every kind of server.
func TestPrincipalsAtEveryPlace(t *testing.T) {
	single := redistest.Start(t)
	servers := map[string]func(t *testing.T) redis.UniversalClient{
		"server": func(t *testing.T) redis.UniversalClient { return client(t, single) },
	}
	if !testing.Short() {
		cluster, sentinel := redistest.StartCluster(t, 3), redistest.StartSentinel(t)
		servers["cluster"] = func(t *testing.T) redis.UniversalClient { return closing(t, cluster.Client()) }
		servers["sentinel"] = func(t *testing.T) redis.UniversalClient { return closing(t, sentinel.Client()) }
	}
	indexed := func() layer.Decorator { return layer.Indexed(userOf) }
	places := map[string]func(t *testing.T) []layer.Decorator{
		"as written": func(*testing.T) []layer.Decorator {
			return []layer.Decorator{patientCoalesced(), patientLocal(), indexed(), layer.Traced()}
		},
		"alone":         func(*testing.T) []layer.Decorator { return []layer.Decorator{indexed()} },
		"without Local": func(*testing.T) []layer.Decorator { return []layer.Decorator{patientCoalesced(), indexed()} },
		"below all": func(*testing.T) []layer.Decorator {
			return []layer.Decorator{indexed(), patientCoalesced(), patientLocal()}
		},
		"strangers": func(*testing.T) []layer.Decorator {
			return []layer.Decorator{strange, patientLocal(), strange, indexed(), strange}
		},
		"behind with a journal": func(t *testing.T) []layer.Decorator {
			return []layer.Decorator{patientCoalesced(layer.WriteBehind(5*time.Millisecond), layer.Journal(t.TempDir())), patientLocal(), indexed()}
		},
	}
	for server, open := range servers {
		for place, decorators := range places {
			t.Run(server+"/"+place, func(t *testing.T) {
				t.Parallel()
				prefix := gsession.NewSessionId() + ":"
				var chains [2]*layer.Stack
				for n := range chains {
					store := redisstore.New(open(t), redisstore.Prefix(prefix))
					chain := layer.Chain(store, decorators(t)...)
					chains[n] = chain
					t.Cleanup(func() {
						if err := errors.Join(chain.Close(context.Background()), store.Close(context.Background())); err != nil {
							t.Error(err)
						}
					})
				}
				usersAndTheirSessions(t, chains[0], chains[1])
			})
		}
	}
}

func closing[C redis.UniversalClient](t *testing.T, c C) C {
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// usersAndTheirSessions goes through what Users does, on two nodes.
func usersAndTheirSessions(t *testing.T, a, b *layer.Stack) {
	ctx := context.Background()
	one, two := device{a, "one-0123456789"}, device{b, "two-0123456789"}
	oneThere, twoThere := device{b, one.id}, device{a, two.id}
	one.logIn(t, "alice")
	two.logIn(t, "alice")
	device{b, "bob-0123456789"}.logIn(t, "bob")
	here, there := layer.Principals(a), layer.Principals(b)
	flush := func() {
		t.Helper()
		if err := errors.Join(a.Flush(ctx), b.Flush(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	poll.Until(t, "both are listed", func() bool {
		list, _, err := here.List(ctx, "alice", "")
		return err == nil && len(list) == 2
	})
	changed := 0
	poll.Until(t, "both are changed", func() (ok bool) {
		var err error
		changed, err = there.Update(ctx, "alice", func(s *layer.Changes) error { s.Set("role", "admin"); return nil })
		return err == nil && changed == 2
	})
	poll.Until(t, "the role is seen", func() bool {
		role, err := one.open().Get("role")
		return err == nil && role.String() == "admin"
	})
	running := twoThere.open()
	running.MustSet("late", 1)
	handle, err := here.Handle(ctx, two.id)
	if err != nil || handle == "" {
		t.Fatal(handle, err)
	}
	if err := here.Revoke(ctx, handle, layer.ReasonEndedByUser); err != nil {
		t.Fatal(err)
	}
	if twoThere.user(t) != "" {
		t.Error("an ended session is served on the node that ended it")
	}
	poll.Until(t, "the other node", func() bool { return two.user(t) == "" })
	isRevoked(t, here, running.Close(), two.id, layer.ReasonEndedByUser)
	// A new log-in under the same id, as a client has that keeps it.
	two.logIn(t, "alice")
	flush()
	if two.user(t) != "alice" {
		t.Error("a new log-in under the id is over")
	}
	late := oneThere.open()
	late.MustSet("late", 1)
	if _, err := there.RevokeAll(ctx, "alice", layer.ReasonPasswordChanged); err != nil {
		t.Fatal(err)
	}
	if two.user(t) != "" || oneThere.user(t) != "" {
		t.Error("an ended session is served on the node that ended it")
	}
	poll.Until(t, "the other node", func() bool { return one.user(t) == "" && twoThere.user(t) == "" })
	isRevoked(t, there, late.Close(), one.id, layer.ReasonPasswordChanged)
	if (device{a, "bob-0123456789"}).user(t) != "bob" {
		t.Error("bob is out")
	}
	one.logIn(t, "alice")
	flush()
	if one.user(t) != "alice" {
		t.Error("a log-in after it is over")
	}
	// Under another id it is the same session.
	before, err := here.Handle(ctx, one.id)
	if err != nil {
		t.Fatal(err)
	}
	s := one.open()
	if s.MustGet("user").String() != "alice" {
		t.Fatal("not logged in")
	}
	id, err := s.RegenerateId(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	flush()
	after, err := here.Handle(ctx, id)
	if err != nil || after != before || before == "" {
		t.Errorf("the handle was %q and is %q, %v", before, after, err)
	}
	poll.Until(t, "one is listed", func() bool {
		list, _, err := there.List(ctx, "alice", "")
		return err == nil && len(list) == 1 && list[0].Handle == before
	})
	// A log-out by the user himself.
	if err := (device{a, id}).open().RemoveAll(); err != nil {
		t.Fatal(err)
	}
	flush()
	poll.Until(t, "nothing is listed", func() bool {
		list, _, err := there.List(ctx, "alice", "")
		return err == nil && len(list) == 0
	})
	if reason, err := there.Reason(ctx, id); reason != layer.ReasonLoggedOut || err != nil {
		t.Errorf("the reason is %q, %v", reason, err)
	}
	if err := there.RevokeEverybody(ctx, layer.ReasonEndedByAdmin); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "everybody is out", func() bool { return device{a, "bob-0123456789"}.user(t) == "" })
}

// A session that the index ends isn't served by a Local above it either, though nothing vouches for memory, or nobody has to.
func TestLocalAboveTheIndexForgetsWhatThatEnds(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	stores := map[string]func(t *testing.T) gsession.Storage{
		"an index in the process": func(*testing.T) gsession.Storage { return gsession.NewStorageMemory() },
		"an index in Redis": func(t *testing.T) gsession.Storage {
			store := redisstore.New(client(t, server), redisstore.Prefix(gsession.NewSessionId()+":"))
			t.Cleanup(func() { _ = store.Close(ctx) })
			return store
		},
	}
	options := map[string]layer.LocalOption{"MaxStale": layer.MaxStale(time.Hour), "Exclusive": layer.Exclusive()}
	ends := map[string]func(t *testing.T, users *layer.Users, second device){
		"RevokeEverybody": func(t *testing.T, users *layer.Users, _ device) {
			if err := users.RevokeEverybody(ctx, layer.ReasonEndedByAdmin); err != nil {
				t.Error(err)
			}
		},
		"RevokeAll": func(t *testing.T, users *layer.Users, _ device) {
			if _, err := users.RevokeAll(ctx, "alice", layer.ReasonEndedByAdmin); err != nil {
				t.Error(err)
			}
		},
		"Limit": func(t *testing.T, _ *layer.Users, second device) { second.logIn(t, "alice") },
	}
	for index, store := range stores {
		for bound, option := range options {
			for way, end := range ends {
				t.Run(index+"/"+bound+"/"+way, func(t *testing.T) {
					chain := layer.Chain(store(t), layer.Indexed(userOf, layer.Limit(1, layer.EndOldest)), patientLocal(option))
					t.Cleanup(func() {
						if err := chain.Close(ctx); err != nil {
							t.Error(err)
						}
					})
					first, second := device{chain, "first-0123456789"}, device{chain, "second-0123456789"}
					first.logIn(t, "alice")
					if first.user(t) != "alice" {
						t.Fatal("not logged in")
					}
					end(t, layer.Principals(chain), second)
					if first.user(t) != "" {
						t.Error("memory serves a session that has ended")
					}
				})
			}
		}
	}
}

// isRevoked checks what a running request got. The chain waits for the reason for a moment only.
func isRevoked(t *testing.T, users *layer.Users, err error, id string, want layer.Reason) {
	t.Helper()
	reason := layer.ReasonOf(err)
	if reason == "" {
		var failed error
		if reason, failed = users.Reason(context.Background(), id); failed != nil {
			t.Error(failed)
		}
	}
	if !errors.Is(err, layer.ErrRevoked) || reason != want {
		t.Errorf("a running request returned %v, reason %q", err, reason)
	}
}

// No session can have an id under which the index keeps something.
func TestNoIdReachesTheIndexsKeys(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 1)
	f.device(0, "real-0123456789").logIn(t, "alice")
	keys, err := f.client.Keys(ctx, f.prefix+tiers.Namespace+"*").Result()
	if err != nil || len(keys) < 2 {
		t.Fatal(keys, err)
	}
	for _, key := range keys {
		id := key[len(f.prefix):]
		d := f.device(0, id)
		if d.user(t) != "" {
			t.Errorf("%q is read", id)
		}
		if err := d.set("user", "mallory"); err == nil {
			t.Errorf("%q is written", id)
		}
		if err := errors.Join(f.chains[0].RemoveAll(ctx, id), f.chains[0].UpdateTTL(ctx, id, time.Millisecond)); err != nil {
			t.Error(err)
		}
	}
	if left, err := f.client.Keys(ctx, f.prefix+tiers.Namespace+"*").Result(); err != nil || len(left) != len(keys) {
		t.Errorf("%d of %d keys are left, %v", len(left), len(keys), err)
	}
}

package layer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// distressed is a store that sends the invalidations that the test asks for, and returns errors while it is
// away. listener is set when a chain is built.
type distressed struct {
	*teststore.Store
	listener tiers.InvalidationListener
	away     atomic.Bool
	reason   atomic.Pointer[error] // why nobody vouches
}

func (d *distressed) InvalidationErr() error {
	if reason := d.reason.Load(); reason != nil {
		return *reason
	}
	return nil
}

func (d *distressed) Subscribe(l tiers.InvalidationListener) (stop func()) {
	d.listener = l
	return func() {}
}

func (d *distressed) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	if d.away.Load() {
		return tiers.Read{}, errors.New("away")
	}
	return d.Store.Load(ctx, id, ttl)
}

// holds is the store's session, nil for none.
func (d *distressed) holds(t *testing.T, id string) map[string]any {
	t.Helper()
	read, err := d.Store.Load(t.Context(), id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if read.Snapshot == nil {
		return nil
	}
	return read.Snapshot.Map()
}

// A state that was read from memory because the store was away never overwrites the store's state:
// the request's changes are merged with it, or refused if the session is gone.
func TestAStaleReadNeverBecomesAWriteOfOldData(t *testing.T) {
	for name, decorators := range map[string][]layer.Decorator{
		"Local":     nil,
		"Coalesced": {layer.Coalesced()},
		"behind":    {layer.Coalesced(layer.WriteBehind(time.Second))},
	} {
		for what, gone := range map[string]bool{"changed meanwhile": false, "logged out meanwhile": true} {
			for how, renewed := range map[string]bool{"": false, ", and gets another id": true} {
				t.Run(name+" "+what+how, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { distress(t, gone, renewed, decorators...) })
				})
			}
		}
	}
}

func distress(t *testing.T, gone, renewed bool, decorators ...layer.Decorator) {
	store := &distressed{Store: teststore.New()}
	chain := layer.Chain(store, append(decorators, layer.Local(layer.ServeStale(time.Minute)))...)
	manager := gsession.New(time.Hour, chain)
	store.Put("a", map[string]any{"user": "one", "step": 1, "seen": 1}, time.Hour)
	store.listener.ValidUntil(time.Now().Add(time.Hour))
	manager.New(t.Context(), "a").MustData()
	synctest.Wait()

	store.listener.ValidUntil(time.Time{})
	store.away.Store(true)
	read, err := chain.Unwrap().(loader).Load(t.Context(), "a", time.Hour)
	if err != nil || read.Outcome != tiers.OutcomeStale {
		t.Fatalf("outcome %v, %v, want stale", read.Outcome, err)
	}
	request := manager.New(t.Context(), "a")
	wantData(t, request.MustData(), map[string]any{"user": "one", "step": 1, "seen": 1})
	after := map[string]any{"user": "one", "step": 2}
	if gone { // another node's write
		store.Drop("a")
		after = nil
	} else {
		store.Put("a", map[string]any{"user": "one", "step": 2}, time.Hour)
	}
	store.away.Store(false)

	id := "a"
	request.MustSet("cart", "full")
	if renewed {
		next, err := request.RegenerateId(false)
		if gone && err == nil {
			t.Error("a session that was logged out gets another id")
		}
		if !gone && err != nil {
			t.Fatal(err)
		}
		if id = next; err != nil {
			id = request.MustId()
		}
	}
	err = request.Close()
	if closed := chain.Close(t.Context()); closed != nil {
		t.Fatal(closed)
	}
	if !gone {
		after["cart"] = "full"
		if err != nil {
			t.Error(err)
		}
	}
	wantData(t, store.holds(t, id), after)
	if gone {
		wantData(t, store.holds(t, "a"), nil)
	}
}

// Local receives the invalidations of a layer behind another author's decorator without Unwrap: the
// chain knows that layer.
func TestLocalReceivesInvalidationsPastAStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &distressed{Store: teststore.New()}
		stranger := func(inner gsession.Storage) gsession.Storage { return struct{ gsession.Storage }{inner} }
		chain := layer.Chain(layer.Chain(store), stranger, layer.Local(layer.MaxStale(time.Hour)))
		defer chain.Close(t.Context())
		if store.listener == nil {
			t.Fatal("nobody listens to the store")
		}
		manager := gsession.New(time.Hour, chain)
		store.listener.ValidUntil(time.Now().Add(time.Hour))
		for n := 1; n < 4; n++ {
			store.Put("a", map[string]any{"n": n}, time.Hour)
			store.listener.Invalidate("a")
			for range 2 {
				if got := manager.New(t.Context(), "a").MustGet("n").Int(); got != n {
					t.Errorf("%d is read, want %d", got, n)
				}
			}
		}
	})
}

// If no connection for invalidations can be made, that is logged with the reason, also without a
// read; a short loss is not.
func TestInvalidationsThatDoNotArriveAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &distressed{Store: teststore.New()}
		traced, log := logged()
		chain := layer.Chain(store, layer.Local(), traced)
		defer chain.Close(t.Context())
		idle := func(after time.Duration, lines int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if n := strings.Count(log.String(), "don't arrive at present"); n != lines {
				t.Errorf("logged %d times, want %d:\n%s", n, lines, log)
			}
		}
		says := func(reason error) { store.reason.Store(&reason) }
		idle(9*time.Second, 0)
		says(errors.New("secret"))
		idle(4*time.Second, 1)
		store.listener.ValidUntil(time.Now().Add(time.Minute))
		idle(time.Minute+9*time.Second, 1)
		says(tiers.NewError("strata: redis: nobody is in", nil))
		idle(4*time.Second, 2)
		if text := log.String(); strings.Contains(text, "secret") || !strings.Contains(text, `reason="strata: redis: nobody is in"`) {
			t.Errorf("logged %s", text)
		}
		store.listener.Unsupported(errors.New("secret"))
		idle(time.Minute, 2)
	})
}

// A server that sends no invalidations is logged once, by the chain's logger, whatever requests
// there are.
func TestAServerThatCannotNotifyIsLoggedOnce(t *testing.T) {
	t.Parallel()
	const warning = "can't send invalidations"
	server := redistest.Start(t, "--rename-command", "CLIENT", "")
	traced, log := logged()
	chain := layer.Chain(redisstore.New(server.Client()), patientCoalesced(), patientLocal(), traced)
	manager := gsession.New(time.Hour, chain)
	poll.Until(t, "the warning is logged", func() bool { return strings.Contains(log.String(), warning) })
	for n := range 50 {
		request := manager.New(t.Context(), fmt.Sprint("session ", n%5))
		request.MustSet("n", n)
		if err := request.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := chain.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if times := strings.Count(log.String(), warning); times != 1 {
		t.Errorf("it is logged %d times:\n%s", times, log)
	}
}

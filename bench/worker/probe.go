package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/stats"
)

var ctx = context.Background()

// soon is within what a second node has to see a write to be called coherent.
const soon = 250 * time.Millisecond

// delays is how many times it is measured, and coherentTries how often each is tried: a machine that stalls makes one late.
const (
	delays        = 5
	coherentTries = 3
)

// probe finds out what a subject keeps, on two nodes of it over one server. A subject
// that claims to be isolated and isn't is wrong, and so is one of ours that breaks anything.
func probe(subject peers.Subject, ask Ask) (k Keeps, err error) {
	if subject.Redis {
		client := redis.NewClient(&redis.Options{Addr: ask.Env.Direct})
		defer func() { _ = client.Close() }()
		if err = client.FlushAll(ctx).Err(); err != nil {
			return k, err
		}
	}
	one, err := subject.Open(ask.Env)
	if err != nil {
		return k, err
	}
	defer func() { _ = one.Close() }()
	two, err := subject.Open(ask.Env)
	if err != nil {
		return k, err
	}
	defer func() { _ = two.Close() }()
	ids := load.IDs(1, 3+delays)
	if err = one.Seed(ctx, ids, load.Nested.Data); err != nil {
		return k, err
	}
	p := prober{one: one, two: two}
	k.Isolated = p.isolated(ids[0])
	k.Updates = p.updates(ids[1])
	k.Logout = p.logout(ids[2])
	var took []float64
	for _, id := range ids[3:] {
		d := p.coherent(id).Seconds()
		if took = append(took, d); d == 0 {
			break
		}
	}
	if k.Coherent = took[len(took)-1] > 0; k.Coherent {
		k.Delay = stats.Of(took).Median
	}
	if p.err != nil {
		return k, p.err
	}
	if subject.Isolated && !k.Isolated || subject.Strata && !(k.Isolated && k.Coherent && k.Updates && k.Logout) {
		return k, load.Wrong(fmt.Sprintf("what it claims to keep, it doesn't: %+v", k))
	}
	return k, nil
}

// prober keeps the first error. It is one goroutine's.
type prober struct {
	one, two peers.Node
	err      error
}

func (p *prober) do(f func() error) {
	if p.err == nil {
		p.err = f()
	}
}

func (p *prober) get(r peers.Request, key string) (v any) {
	p.do(func() (err error) {
		v, err = r.Get(key)
		return err
	})
	return v
}

func (p *prober) set(r peers.Request, key, value string) {
	p.do(func() error { return r.Set(key, value) })
}

// isolated has one request edit a value that it was given, and another one look.
func (p *prober) isolated(id string) bool {
	p.get(p.one.Begin(ctx, id), load.CartKey) // so that caches hold it
	for range 3 {
		r := p.one.Begin(ctx, id)
		if cart, ok := p.get(r, load.CartKey).(map[string]any); ok {
			cart["currency"] = "scribble"
		}
		cart, ok := p.get(p.one.Begin(ctx, id), load.CartKey).(map[string]any)
		if ok && cart["currency"] != "EUR" {
			return false
		}
	}
	return true
}

// coherent has the first node write what the second one knows, and returns how long the
// second one doesn't see it; 0 where it is too long, each time.
func (p *prober) coherent(id string) (d time.Duration) {
	for n := 0; n < coherentTries && d == 0; n++ {
		d = p.delay(id, fmt.Sprint("new", n))
	}
	return d
}

func (p *prober) delay(id, value string) time.Duration {
	for end := time.Now().Add(soon / 8); time.Now().Before(end); { // both know it, and receive invalidations
		p.get(p.one.Begin(ctx, id), "key1")
		p.get(p.two.Begin(ctx, id), "key1")
	}
	r := p.one.Begin(ctx, id)
	p.set(r, "key1", value)
	p.do(r.Close)
	p.do(func() error { return p.one.Flush(ctx) })
	for began := time.Now(); p.err == nil && time.Since(began) < soon; {
		if p.get(p.two.Begin(ctx, id), "key1") == value {
			return time.Since(began)
		}
	}
	return 0
}

// updates has two requests overlap that change different keys.
func (p *prober) updates(id string) bool {
	a, b := p.one.Begin(ctx, id), p.one.Begin(ctx, id)
	p.get(a, "key1")
	p.get(b, "key1")
	p.set(a, "key1", "a")
	p.set(b, "key2", "b")
	p.do(a.Close)
	p.do(b.Close)
	after := p.one.Begin(ctx, id)
	return p.get(after, "key1") == "a" && p.get(after, "key2") == "b"
}

// logout has a request overlap with a log-out, and change something after it.
func (p *prober) logout(id string) bool {
	slow, out := p.one.Begin(ctx, id), p.one.Begin(ctx, id)
	p.get(slow, "key1")
	p.get(out, "key1")
	p.do(out.Clear)
	p.do(out.Close)
	p.set(slow, "key1", "late")
	if p.err == nil {
		_ = slow.Close() // a refusal is right
	}
	p.do(func() error { return p.one.Flush(ctx) })
	return p.get(p.one.Begin(ctx, id), "key3") == nil && p.get(p.one.Begin(ctx, id), "key1") == nil
}

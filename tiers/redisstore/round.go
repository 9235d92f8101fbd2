package redisstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	errLost  = errors.New("strata: redis: the connection for announcements is lost")
	errMoved = errors.New("strata: redis: the masters have changed")

	errUnsettled = errors.New("strata: redis: the masters don't agree who has which slots")
)

// round is the time from one loss to the next: the masters stay the same ones, and so
// does the connection to each. Who else becomes one, and a connection that ends, end it.
// Slots may go from one member to another meanwhile: whoever has them announces, but what
// happened while the members didn't agree isn't known.
//
// The watcher's mutex guards its fields; members and up are set at the start.
type round struct {
	*Watcher
	members []*member
	up      chan struct{} // closed once every channel has been confirmed

	confirmed int
	proofs    []time.Time // of each member, and of the topology at last
	stands    time.Time
	due       bool // Missed is to be told before anybody vouches
	over      bool
}

// member is a master of a round, and how to ask it. channel and probe are set at the
// start; the rest belongs to follow.
type member struct {
	*channel
	*probe
	nodes  nodes // what it said last, in a cluster
	proven bool  // its canary was heard
}

// round watches until something is lost, and answers what, and for how long it stood.
func (w *Watcher) round(ctx context.Context) (stood time.Duration, err error) {
	masters, err := w.topology.masters(ctx)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &round{Watcher: w, up: make(chan struct{}), proofs: make([]time.Time, len(masters)+1), due: true}
	var life time.Duration // of a connection to ask on, 0 for any
	if one, ok := w.topology.(*single); ok {
		if life = w.addressLife; one.behindSentinels() {
			life = 1 // they are asked each time
		}
	}
	for n, master := range masters {
		r.members = append(r.members, &member{channel: newChannel(r, n, master), probe: newProbe(master, life)})
	}
	var all sync.WaitGroup
	do := func(f func(context.Context) error) {
		all.Go(func() {
			cancel(f(ctx))
			r.end() // at once, and not when the others have ended
		})
	}
	for _, m := range r.members {
		do(m.channel.run)
		defer m.probe.close()
	}
	do(r.follow)
	all.Wait()
	if !r.stands.IsZero() {
		stood = time.Since(r.stands)
	}
	return stood, context.Cause(ctx)
}

// end revokes what was vouched.
func (r *round) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	r.over = true
	r.revoke()
}

// doubt revokes what was vouched until the members agree, from which on it counts.
func (r *round) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	r.revoke()
	r.due, r.proofs[len(r.members)] = true, time.Time{}
}

// revoke is called under mu.
func (r *round) revoke() {
	if r.vouched.IsZero() {
		return
	}
	r.vouched = time.Time{}
	for _, l := range r.listeners {
		(*l).Vouched(time.Time{})
	}
}

// prove notes that a member, or the topology, was right at the given moment, and
// extends what is vouched to the lease after the earliest of these moments.
func (r *round) prove(n int, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	first := r.proofs[n].IsZero()
	r.proofs[n] = at
	if first && n < len(r.members) {
		if r.confirmed++; r.confirmed == len(r.members) {
			close(r.up)
		}
	}
	for _, other := range r.proofs {
		if other.Before(at) {
			at = other
		}
	}
	until := at.Add(r.lease)
	if at.IsZero() || !until.After(r.vouched) {
		return
	}
	if r.stands.IsZero() {
		r.stands, r.unsupported = time.Now(), nil
	}
	if r.due {
		r.due = false
		for _, l := range r.listeners {
			(*l).Missed()
		}
	}
	r.vouched = until
	for _, l := range r.listeners {
		(*l).Vouched(until)
	}
}

// changed tells of a list of keys as go-redis reads it, and reports whether it is one.
// What comes before the round stands is covered by the Missed that is told then.
func (r *round) changed(keys []any) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.stands.IsZero() {
		return true
	}
	for _, k := range keys {
		key, ok := k.(string)
		if !ok {
			return false
		}
		id, ok := strings.CutPrefix(key, r.prefix)
		if !ok || id == "" {
			continue // no session has such a key
		}
		for _, l := range r.listeners {
			(*l).Changed(id)
		}
	}
	return true
}

// flushed tells that all keys were removed.
func (r *round) flushed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.stands.IsZero() {
		return
	}
	for _, l := range r.listeners {
		(*l).Missed()
	}
}

// follow asks for the topology, as soon as all channels are confirmed, until others than
// the members are masters, or it couldn't be learned for a lease. A read that begins after
// another view is known, and its Missed told, asks whoever has the slot by that view, and
// who has, or gets it later, is a member, or the next view ends the round.
func (r *round) follow(ctx context.Context) error {
	select {
	case <-r.up:
	case <-ctx.Done():
		return ctx.Err()
	}
	var view string
	for last := time.Now(); ; {
		seen, began, err := r.learn(ctx)
		switch {
		case err == nil:
			if seen != view {
				r.doubt()
			}
			view, last = seen, began
			r.prove(len(r.members), began)
		case errors.Is(err, errUnsettled):
			r.doubt()
			last = began
		case errors.Is(err, errMoved), errors.Is(err, errReplica), errors.Is(err, errDeaf), isAnswer(err), time.Since(last) > r.lease:
			return err
		}
		timer := time.NewTimer(r.lease/4 + rand.N(r.lease/4))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// learn asks for the topology, and for that of a moment after the canaries that were due,
// which take their time. It answers when it began to ask.
func (r *round) learn(ctx context.Context) (view string, began time.Time, err error) {
	for sung := true; sung && err == nil; {
		began = time.Now()
		if view, err = r.look(ctx); err == nil {
			sung, err = r.audition(ctx)
		}
	}
	if errors.Is(err, errDeaf) {
		if _, elsewhere := r.look(ctx); elsewhere != nil {
			err = elsewhere // as the canary perhaps
		}
	}
	return view, began, err
}

// look doesn't wait for a server that hangs until the lease has ended.
func (r *round) look(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.lease/2)
	defer cancel()
	return r.topology.view(ctx, r.members)
}

// isAnswer reports whether the server itself said no.
func isAnswer(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}

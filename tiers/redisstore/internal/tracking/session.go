package tracking

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
	"github.com/gf-strata/strata/tiers/redisstore/internal/pause"
)

var (
	errLost   = tiers.NewError("strata: redis: the connection for invalidations is lost", nil)
	errSilent = tiers.NewError("strata: redis: the server has sent no pong within the lease", nil)
	errMoved  = tiers.NewError("strata: redis: the masters have changed", nil)

	errUnsettled = tiers.NewError("strata: redis: the masters don't agree who has which slots", nil)
)

const (
	// canaryMark and chance follow the prefix, so that the key is nobody's.
	canaryMark = "strata-canary-"

	// proofLife is how long a canary proves that commands go to the server that is watched, and
	// that its invalidations arrive. Each is sent to all nodes, and takes a new connection, so
	// that more of them would cost a server with many nodes more than they prove.
	proofLife = 10 * time.Second

	// shards is how many canaries show that keyspace notifications come from all servers that a proxy may hide.
	shards = 16

	// markLife ends what is left of a mark, which is written again in each proofLife.
	markLife = 10 * time.Minute
)

// How far a watch session has come.
const (
	connected = 1 + iota // a server took the connection
	greeted              // and the password
	confirmed            // and a connection's first ping got its pong
)

// watchSession is the time from one loss to the next: the masters stay the same ones, and so
// does the connection to each. Another server that becomes one, and a connection that ends, end it.
// Slots may go from one member to another meanwhile: the member that has them sends their
// invalidations, but what happened while the members didn't agree isn't known.
//
// members, up, ended and cancel are set at the start, path is once; the watcher's mutex
// guards the rest.
type watchSession struct {
	*watcher
	members []*member
	up      chan struct{} // closed once every connection has been confirmed
	ended   chan struct{} // closed when it is over
	cancel  context.CancelCauseFunc

	reached          int
	confirmedMembers int         // members
	proofs           []time.Time // of each member, and of the topology at last
	stands           time.Time
	path             *path // of the storage's commands, while it stands
	missed           bool  // InvalidateAll is due before the next ValidUntil
	over             bool
}

// member is a master of a watch session, and how to ask it. connection is set at the start; the rest
// belongs to follow.
type member struct {
	*connection
	*probe
	nodes  nodes     // what it said last, in a cluster
	proven time.Time // when its last canary that was received was written
	due    bool      // another one is to be written now
	mark   string    // a key that is there until all keys are removed, of which no keyspace notification comes
	marked time.Time // when it was last written
}

// renew makes the member be asked on a new connection.
func (m *member) renew() {
	m.probe.close()
	m.probe = newProbe(m.connection.master)
}

// runSession watches until something is lost, and returns the watch session and why it ended.
func (w *watcher) runSession(ctx context.Context) (r *watchSession, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r = &watchSession{watcher: w, up: make(chan struct{}), ended: make(chan struct{}), cancel: cancel, missed: true}
	var masters []*redis.Options
	err = guarded(func() (err error) {
		// A node that has vanished would hold up a cluster's client for as long as its options dial.
		asking, stop := context.WithTimeout(ctx, dialTimeout+ioTimeout)
		defer stop()
		masters, err = w.topology.masters(asking)
		return err
	})
	if err != nil {
		if fault.IsReply(err) {
			r.reached = connected
		}
		return r, err
	}
	r.proofs = make([]time.Time, len(masters)+1)
	for n, master := range masters {
		r.members = append(r.members, &member{connection: newConnection(r, n, master), probe: newProbe(master)})
	}
	var all sync.WaitGroup
	do := func(f func(context.Context) error) {
		all.Go(func() {
			cancel(guarded(func() error { return f(ctx) }))
			r.end(ctx) // at once, and not when the others have ended
		})
	}
	for _, m := range r.members {
		do(m.connection.run)
		defer func() { m.probe.close() }()
	}
	do(r.follow)
	all.Wait()
	return r, context.Cause(ctx)
}

// result is for how long the watch session stood, until now, and how far it has come.
func (r *watchSession) result() (stood time.Duration, reached int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stands.IsZero() {
		stood = time.Since(r.stands)
	}
	return stood, r.reached
}

// reaches notes how far the watch session has come.
func (r *watchSession) reaches(stage int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reached = max(r.reached, stage)
}

// end revokes what was vouched, and has later commands take new connections.
func (r *watchSession) end(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	r.over = true
	close(r.ended)
	r.reason = context.Cause(ctx)
	r.revoke()
	if r.path != nil {
		r.paths.leave(r.path)
	}
}

// doubt revokes what was vouched until the members agree, from which on it counts.
func (r *watchSession) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	r.revoke()
	r.reason = errUnsettled
	r.missed, r.proofs[len(r.members)] = true, time.Time{}
}

// revoke is called under mu.
func (r *watchSession) revoke() {
	if r.vouched.IsZero() {
		return
	}
	r.vouched = time.Time{}
	for _, l := range r.listeners {
		(*l).ValidUntil(time.Time{})
	}
}

// prove notes that a member, or the topology, was right at the given moment, and
// extends what is vouched to the lease after the earliest of these moments.
func (r *watchSession) prove(n int, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	first := r.proofs[n].IsZero()
	r.proofs[n] = at
	if first && n < len(r.members) {
		r.reached = confirmed
		if r.confirmedMembers++; r.confirmedMembers == len(r.members) {
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
		if r.paths != nil {
			r.path = newPath(r.paths.user.(*redis.Client), r.vet)
			r.paths.use(r.path)
		}
	}
	if r.missed {
		r.missed = false
		for _, l := range r.listeners {
			(*l).InvalidateAll()
		}
	}
	r.vouched = until
	for _, l := range r.listeners {
		(*l).ValidUntil(until)
	}
}

// changed notifies the listeners of a list of keys as go-redis reads it, and reports whether it is
// one. A change before the watch session stands is covered by the InvalidateAll that is due then.
func (r *watchSession) changed(keys []any) bool {
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
			(*l).Invalidate(id)
		}
	}
	return true
}

// flushed notifies the listeners that all keys were removed.
func (r *watchSession) flushed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.stands.IsZero() {
		return
	}
	for _, l := range r.listeners {
		(*l).InvalidateAll()
	}
}

// follow asks for the topology, as soon as all connections are confirmed, until others than
// the members are masters, or it couldn't be learned for a lease. A read that begins after
// another view is known, and InvalidateAll has been called for it, asks the master that has the
// slot by that view; this one, and each that gets the slot later, is a member, or the next view
// ends the watch session.
func (r *watchSession) follow(ctx context.Context) error {
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
		case errors.Is(err, errMoved), errors.Is(err, errReplica), errors.Is(err, errDeaf), errors.Is(err, errPanic), fault.IsReply(err), time.Since(last) > r.lease:
			return err
		}
		if !pause.For(ctx, r.pace+rand.N(r.pace)) {
			return ctx.Err()
		}
	}
}

// learn asks for the topology, and for that of a moment after the canaries that were due,
// which take their time. It returns when it began to ask.
func (r *watchSession) learn(ctx context.Context) (view string, began time.Time, err error) {
	began = time.Now()
	if view, err = r.look(ctx); err != nil {
		return view, began, err
	}
	sent, err := r.proveMembers(ctx)
	if sent && err == nil {
		began = time.Now()
		view, err = r.look(ctx)
	}
	return view, began, err
}

// look doesn't wait for a server that hangs until the lease has ended.
func (r *watchSession) look(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.lease/2)
	defer cancel()
	view, err := r.topology.view(ctx, r.members)
	for n := 0; err == nil && r.notifications && n < len(r.members); n++ {
		err = r.remark(ctx, r.members[n])
	}
	return view, err
}

// remark looks whether the member's mark is still there, makes it at first, and extends its life in each proofLife.
func (r *watchSession) remark(ctx context.Context, m *member) error {
	isNew, now := m.mark == "", time.Now()
	if isNew {
		if m.mark = r.topology.key(m, r.canaryKey()); m.mark == "" {
			return nil
		}
	} else {
		err, due := error(nil), now.Sub(m.marked) >= r.proofLife
		there := true
		if due { // SET would hide that all keys were removed since a GET
			there, err = m.probe.client.PExpire(ctx, m.mark, markLife).Result()
		} else if err = m.probe.client.Get(ctx, m.mark).Err(); err == redis.Nil {
			there, err = false, nil
		}
		if err != nil {
			return asUnsupported(err)
		}
		if there {
			if due {
				m.marked = now
			}
			return nil
		}
	}
	if err := m.probe.client.Set(ctx, m.mark, "", markLife).Err(); err != nil {
		return asUnsupported(err)
	}
	m.marked = now
	if !isNew {
		r.flushed() // after the mark was written, so that another removal shows
	}
	return nil
}

// canaryKey is the beginning of one.
func (r *watchSession) canaryKey() string {
	return r.prefix + canaryMark + strings.ToLower(crand.Text())
}

// proveMembers writes a canary on a new connection to each member, and waits until its
// invalidation is received, once in a proofLife. It reports whether there was one. A member that
// no key of the prefix can be at needs none. A server that is full, or can't save, takes no
// canary; it is believed if one was received earlier in the watcher's life, and a message is received now: that doesn't
// show that keyspace notifications are.
func (r *watchSession) proveMembers(ctx context.Context) (sent bool, err error) {
	var all sync.WaitGroup
	errs := make([]error, len(r.members))
	for n, m := range r.members {
		if !m.due && time.Since(m.proven) < r.proofLife {
			continue
		}
		key := r.topology.key(m, r.canaryKey())
		if key == "" {
			continue
		}
		sent = true
		more := 0
		if !m.proven.IsZero() {
			m.renew()
		} else if r.notifications {
			more = shards - 1
		}
		all.Go(func() {
			errs[n] = guarded(func() error {
				began := time.Now()
				err := m.connection.sendCanary(ctx, m.probe.client, key)
				for n := 0; err == nil && n < more; n++ {
					if key := r.topology.key(m, r.canaryKey()); key != "" {
						err = m.connection.sendCanary(ctx, m.probe.client, key)
					}
				}
				if says(err, full) && !r.notifications && r.received && m.probe.remote() == m.connection.remote() {
					err = m.connection.sendMessage(ctx, m.probe.client, key)
				}
				switch {
				case errors.Is(err, errDeaf) && !m.proven.IsZero():
					return errMoved
				case err != nil:
					return asUnsupported(err)
				}
				m.proven, m.due = began, false
				return nil
			})
		})
	}
	all.Wait()
	err = errors.Join(errs...)
	r.received = r.received || sent && err == nil
	return sent, err
}

// vet proves a new connection for commands. One that doesn't lead to the server that
// is watched ends the watch session.
func (r *watchSession) vet(ctx context.Context, conn *redis.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	key, watched := r.canaryKey(), r.members[0].connection
	err := watched.sendCanary(ctx, conn, key)
	if says(err, full) && !r.notifications {
		err = watched.sendMessage(ctx, conn, key)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errDeaf), fault.IsReply(err):
		r.cancel(errMoved)
		return errUnproven
	default:
		return err
	}
}

var errPanic = tiers.NewError("strata: redis: a panic while changes were watched; look at what the client's options call", nil)

// guarded has a panic, such as that of a function in the client's options, end the watch session and
// not the process.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(errPanic, fmt.Errorf("%v\n%s", p, debug.Stack()))
		}
	}()
	return f()
}

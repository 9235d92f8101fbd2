package tracking

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
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

	errOutgrown  = tiers.NewError("strata: redis: the server has CLIENT TRACKING by now", nil)
	errUnsettled = tiers.NewError("strata: redis: the masters don't agree who has which slots", nil)
)

const (
	// canaryName and chance follow the prefix, so that the key is nobody's.
	canaryName = "strata-canary-"

	// proofLife is how long a canary proves that commands go to the server that is watched, and
	// that its invalidations arrive. Each is sent to all nodes, and takes a new connection, so
	// that more of them would cost a server with many nodes more than they prove.
	proofLife = 10 * time.Second

	// shards is how many canaries show that changes are received from all servers that a proxy may hide.
	shards = 16

	// tripwireLife ends a tripwire, which costs memory what it holds.
	tripwireLife = time.Hour
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
// notifications, members, life, cancel, up and confirm are set at the start, path is once; the watcher's mutex
// guards the rest.
type watchSession struct {
	*watcher
	notifications bool // it takes keyspace notifications in place of CLIENT TRACKING
	members       []*member
	life          context.Context
	cancel        context.CancelCauseFunc
	up            chan struct{} // closed once every connection has been confirmed
	confirm       func()        // closes it

	reached int
	proofs  []time.Time // of each member, and of the topology at last
	stands  time.Time
	path    *path // of the storage's commands, while it stands
}

// member is a master of a watch session, and how to ask it. connection is set at the start; the rest
// belongs to follow.
type member struct {
	*connection
	probe  *redis.Client
	nodes  nodes     // what it said last, in a cluster
	proven time.Time // when its last canary that was received was written
	due    bool      // another one is to be written now
	wire   string    // the key of its tripwire
}

// runSession watches until something is lost, and returns the watch session and why it ended.
func (w *watcher) runSession(ctx context.Context, notifications bool) (r *watchSession, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r = &watchSession{watcher: w, notifications: notifications, life: ctx, cancel: cancel, up: make(chan struct{})}
	r.confirm = sync.OnceFunc(func() { close(r.up) })
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
			r.end() // at once, and not when the others have ended
		})
	}
	for _, m := range r.members {
		do(m.connection.run)
		defer func() { _ = m.probe.Close() }()
	}
	do(r.follow)
	if notifications {
		do(r.outgrow)
	}
	all.Wait()
	return r, context.Cause(ctx)
}

// protocol is the version of RESP in which changes are received.
func (r *watchSession) protocol() int {
	if r.notifications {
		return 2
	}
	return 3
}

// reaches notes how far the watch session has come.
func (r *watchSession) reaches(stage int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reached = max(r.reached, stage)
}

// end revokes what was vouched, and has later commands take new connections.
func (r *watchSession) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reason = context.Cause(r.life)
	r.revoke()
	if r.path != nil {
		r.paths.leave(r.path)
	}
}

// doubt revokes what was vouched until the members agree, from which on it counts.
func (r *watchSession) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.Err() != nil {
		return
	}
	r.revoke()
	r.reason = errUnsettled
	r.proofs[len(r.members)] = time.Time{}
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
	if r.life.Err() != nil {
		return
	}
	r.proofs[n] = at
	if n < len(r.members) {
		r.reached = confirmed
	}
	if !earliest(r.proofs[:len(r.members)]).IsZero() {
		r.confirm()
	}
	at = earliest(r.proofs)
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
	if r.vouched.IsZero() {
		for _, l := range r.listeners {
			(*l).InvalidateAll()
		}
	}
	r.vouched = until
	for _, l := range r.listeners {
		(*l).ValidUntil(until)
	}
}

func earliest(of []time.Time) time.Time { return slices.MinFunc(of, time.Time.Compare) }

// changed notifies the listeners of a list of keys as go-redis reads it, and reports whether it is
// one. A change before the watch session stands is covered by the InvalidateAll that is due then.
func (r *watchSession) changed(keys []any) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stands.IsZero() {
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
	if r.stands.IsZero() {
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

// outgrow ends a watch session by notifications once CLIENT TRACKING works, as after an upgrade, or when the right is granted.
func (r *watchSession) outgrow(ctx context.Context) error {
	for pause.For(ctx, r.retry-rand.N(r.retry/4)) {
		if r.tracks(ctx) {
			return errOutgrown
		}
	}
	return ctx.Err()
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
		err = r.checkTripwire(ctx, r.members[n])
	}
	return view, err
}

// checkTripwire sets the member's tripwire if it isn't there. Then all keys were removed, of which no keyspace
// notification comes, unless it is the first time, or an hour after.
func (r *watchSession) checkTripwire(ctx context.Context, m *member) error {
	first := m.wire == ""
	if first {
		if m.wire = r.topology.key(m, r.canaryKey()); m.wire == "" {
			return nil
		}
	}
	gone, err := m.probe.SetNX(ctx, m.wire, "", tripwireLife).Result()
	if gone && !first {
		r.flushed()
	}
	if err = r.refusal(err); errors.Is(err, errUnsettled) {
		m.wire = "" // another one is set before anything is vouched for again
	}
	return err
}

// refusal is the error of a key's command: the slot may have gone to another master since that was asked.
func (r *watchSession) refusal(err error) error {
	if _, is := r.topology.(*cluster); is && says(err, redirected) {
		return errUnsettled
	}
	return asUnsupported(err)
}

// canaryKey is the beginning of one.
func (r *watchSession) canaryKey() string {
	return r.prefix + canaryName + strings.ToLower(crand.Text())
}

// proveMembers writes a canary on a new connection to each member, and waits until its
// invalidation is received, once in a proofLife. It reports whether there was one. A member that
// no key of the prefix can be at needs none.
func (r *watchSession) proveMembers(ctx context.Context) (sent bool, err error) {
	var proofs []func() error
	for _, m := range r.members {
		if !m.due && time.Since(m.proven) < r.proofLife {
			continue
		}
		if key := r.topology.key(m, r.canaryKey()); key != "" {
			proofs = append(proofs, func() error { return r.proveMember(ctx, m, key) })
		}
	}
	err = atOnce(proofs)
	sent = len(proofs) > 0
	r.received = r.received || sent && err == nil
	return sent, err
}

func (r *watchSession) proveMember(ctx context.Context, m *member, key string) error {
	began, canaries := time.Now(), 1
	again := !m.proven.IsZero()
	switch {
	case again:
		_ = m.probe.Close()
		m.probe = newProbe(m.connection.master)
	case r.thorough, r.notifications && r.paths != nil:
		canaries = shards
	}
	for n := 0; n < canaries; n++ {
		if n > 0 {
			key = cmp.Or(r.topology.key(m, r.canaryKey()), key)
		}
		switch err := m.isBehind(ctx, m.probe, key, r.received); {
		case errors.Is(err, errDeaf) && again:
			return errMoved
		case err != nil:
			return r.refusal(err)
		}
	}
	m.proven, m.due = began, false
	return nil
}

// vet proves a new connection for commands. One that doesn't lead to the server that
// is watched ends the watch session.
func (r *watchSession) vet(ctx context.Context, conn *redis.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	err := r.members[0].isBehind(ctx, conn, r.canaryKey(), true)
	if errors.Is(err, errDeaf) || fault.IsReply(err) {
		r.cancel(errMoved)
		return errUnproven
	}
	return err
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

// atOnce makes the calls at the same time, and joins their errors.
func atOnce(calls []func() error) error {
	var all sync.WaitGroup
	errs := make([]error, len(calls))
	for n, call := range calls {
		all.Go(func() { errs[n] = guarded(call) })
	}
	all.Wait()
	return errors.Join(errs...)
}

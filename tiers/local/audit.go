package local

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// auditor compares some of the hits with the store. A hit rate says nothing about
// coherence; this does.
//
// The fields are set at construction. One goroutine compares, until close.
type auditor struct {
	s         *Storage
	threshold uint64 // of 2^64 hits, so many are compared
	queue     chan audited
	stop      context.CancelFunc
	done      sync.WaitGroup
}

type audited struct {
	hash uint64
	e    *entry
	ttl  time.Duration
}

const (
	// maxAudits bounds the hits that wait to be compared.
	maxAudits = 64

	// auditTimeout bounds the read of one.
	auditTimeout = 5 * time.Second

	// auditWait bounds how late an invalidation may be, if the source vouches
	// for longer, and how long an own write may be on its way.
	auditWait = 5 * time.Second

	// auditPause is how often the auditor looks whether the invalidation has come.
	auditPause = 5 * time.Millisecond
)

// newAuditor is nil if no hit is to be compared.
func newAuditor(s *Storage, fraction float64) *auditor {
	if fraction == 0 {
		return nil
	}
	a := &auditor{s: s, threshold: math.MaxUint64, queue: make(chan audited, maxAudits)}
	if fraction < 1 {
		a.threshold = uint64(fraction * math.MaxUint64)
	}
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.done.Go(func() { a.run(ctx) })
	return a
}

// hit queues some of the hits.
func (a *auditor) hit(hash uint64, e *entry, ttl time.Duration) {
	if rand.Uint64() > a.threshold {
		return
	}
	select {
	case a.queue <- audited{hash, e, ttl}:
	default:
		a.s.tally.Add(telemetry.AuditSkipped)
	}
}

func (a *auditor) run(ctx context.Context) {
	for {
		select {
		case hit := <-a.queue:
			a.compare(ctx, hit)
		case <-ctx.Done():
			return
		}
	}
}

// compare reads the session from below. A difference is allowed for as long as its
// invalidation may be on its way: until the moment until which the sources vouched
// when the session was read, or MaxStale if there are none.
func (a *auditor) compare(ctx context.Context, hit audited) {
	if !a.serves(hit) {
		a.s.tally.Add(telemetry.AuditChanged)
		return
	}
	stored, err := a.read(ctx, hit)
	now := a.s.memory.now()
	switch {
	case err != nil:
		a.s.tally.Add(telemetry.AuditFailed)
		return
	case stored.Same(hit.e.snapshot):
		a.s.tally.Add(telemetry.AuditSame)
		return
	}
	vouched := hit.e.watched || a.s.options.Exclusive
	if vouched {
		a.await(ctx, hit, now)
	}
	switch {
	case ctx.Err() != nil:
	case !a.serves(hit):
		a.s.tally.Add(telemetry.AuditChanged)
	case !vouched:
		a.s.tally.Add(telemetry.AuditChanged)
		a.s.order.invalidate(hit.hash, telemetry.InvalidatedByAudit)
	default:
		a.s.tally.Add(telemetry.AuditDiffers)
		a.s.reporter.Differed(time.Duration(now - hit.e.loaded))
		a.s.order.invalidate(hit.hash, telemetry.InvalidatedByAudit)
		a.s.reporter.Warn(ctx, "audit",
			"strata: a session in memory differed from the store and no invalidation had arrived; it is read anew")
	}
}

// serves reports whether the entry would still be served.
func (a *auditor) serves(hit audited) bool {
	e, v := a.s.memory.look(hit.hash)
	return e != nil && e.stamp == hit.e.stamp && e.loaded == hit.e.loaded && e.current(hit.e.id, v)
}

func (a *auditor) read(ctx context.Context, hit audited) (stored *tiers.Snapshot, err error) {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	defer func() {
		if recover() != nil { // a caller of Load that asks for the session gets the store's panic
			err = errAborted
		}
	}()
	read, err := a.s.inner.Load(ctx, hit.e.id, hit.ttl)
	return read.Snapshot, err
}

// await returns when the entry isn't served any more, or must not be.
func (a *auditor) await(ctx context.Context, hit audited, now int64) {
	deadline := now + int64(auditWait)
	if hit.e.watched {
		deadline = min(deadline, a.s.watch.until.Load())
	}
	tick := time.NewTicker(auditPause)
	defer tick.Stop()
	for a.serves(hit) && a.s.memory.now() < deadline {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// close ends the comparison that is under way.
func (a *auditor) close() {
	if a == nil {
		return
	}
	a.stop()
	a.done.Wait()
}

package coalesce

import (
	"errors"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

const (
	pipelines    = 4   // batches that are at a batching store at once
	pipelineSize = 128 // commits in one of them, at most
	writers      = 16  // commits that nobody waits for, at once at another store
)

// work takes what is due to the store until nothing is: one batch, or as many as wait
// at that moment where the store takes them together. Nobody is made to wait for others
// to come: commits meet because all pipelines are busy.
func (l *lanes) work() {
	over := false
	defer func() {
		if over {
			l.quit()
		} else {
			l.crew.Go(l.work) // the store has ended this goroutine
		}
	}()
	for flying := l.board(); len(flying) > 0; flying = l.board() {
		l.carry(flying)
	}
	over = true
}

// board puts the first batches of lanes that are due in flight; a removal goes alone. Where
// none is, the worker ends.
func (l *lanes) board() (flying []*batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := 1
	if l.batcher != nil {
		most = pipelineSize
	}
	for len(l.due) > 0 && len(flying) < most && !l.closed {
		k := l.due[0]
		removal := k.waiting[0].delta == nil
		if removal && len(flying) > 0 {
			break
		}
		l.due[0] = nil
		l.due = l.due[1:]
		k.queued = false
		k.flying, k.waiting = k.waiting[0], k.waiting[1:]
		h := k.flying.hold
		k.flying.alone = h != nil && !h.claimed
		k.flying.tickets = l.caches.begin(k.id)
		flying = append(flying, k.flying)
		if removal {
			break
		}
	}
	if len(l.due) == 0 {
		l.due = nil
	}
	if len(flying) == 0 {
		l.workers--
	}
	return flying
}

// quit is a worker's end, when it has reported all that it had to.
func (l *lanes) quit() {
	l.mu.Lock()
	last := l.closed && l.workers == 0
	l.mu.Unlock()
	if last {
		l.gone()
	}
}

// carry brings batches to the store and sees to what becomes of each.
func (l *lanes) carry(batches []*batch) {
	began := time.Now()
	defer l.settle(batches, began) // also where the store ends the goroutine
	if len(batches) == 1 {
		l.run(batches[0])
	} else {
		l.together(batches)
	}
}

// settle takes down what has become of batches.
func (l *lanes) settle(batches []*batch, began time.Time) {
	for _, b := range batches {
		l.count(b)
		if b.err == nil && b.delta != nil {
			l.landed(b, began)
		}
	}
	var (
		lost    []GiveUp
		unheard []error
	)
	l.mu.Lock()
	for _, b := range batches {
		if given := l.land(b, began); given != nil {
			lost = append(lost, *given)
		}
		if b.err != nil && b.left.Load() {
			unheard = append(unheard, b.err)
		}
	}
	l.mu.Unlock()
	for n := range lost {
		l.gaveUp(lost[n])
	}
	for _, err := range unheard {
		l.unheard(err)
	}
}

// count counts what came of a commit.
func (l *lanes) count(b *batch) {
	switch {
	case b.delta == nil:
	case b.err == nil && b.panicked == nil:
		l.tally.Add(telemetry.CommitOK)
	case errors.Is(b.err, tiers.ErrRevoked):
		l.tally.Add(telemetry.CommitRevoked)
	default:
		l.tally.Add(telemetry.CommitFailed)
	}
}

// land ends a batch or lets it wait for its next attempt. It is called under mu, and
// answers what was given up.
func (l *lanes) land(b *batch, began time.Time) (lost *GiveUp) {
	k := l.lanes[b.id]
	k.flying = nil
	defer l.arrange(k)
	if b.snapshot != nil {
		b.snapshot = b.snapshot.ReadAt(began).Tell()
		if len(k.waiting) > 0 && !k.removing() {
			k.waiting[0].delta = k.waiting[0].delta.Onto(b.snapshot)
		}
	}
	h := b.hold
	switch {
	case h == nil:
		if b.err != nil && b.annuls.Changes > 0 {
			b.annuls.Cause = b.err
			lost = &b.annuls
		}
	case b.err == nil || h.claimed:
	case l.closed && l.journal != nil: // undelivered
		l.caches.end(k.id, b.tickets)
		k.waiting = append([]*batch{b}, k.waiting...)
		return nil
	case k.removing():
		k.waiting[0].annul(b)
	case !tiers.IsFinal(b.err) && h.again() && !l.closed:
		if tiers.MayBeApplied(b.err) {
			b.delta = b.delta.Conditional(b.delta.Base())
		}
		l.tally.Add(telemetry.Retries)
		l.caches.end(k.id, b.tickets)
		b.snapshot, b.err, b.panicked = nil, nil, nil
		k.waiting = append([]*batch{b}, k.waiting...)
		return nil
	default:
		lost = &GiveUp{Cause: b.err}
		lost.add(b)
	}
	k.become(b)
	l.caches.became(k.id, b.ttl, b.tickets, k.shown)
	l.finish(k, b, b.snapshot, b.err)
	return lost
}

// become notes what readers see after the batch, with what still waits.
func (k *lane) become(b *batch) {
	k.shown = nil
	if b.err != nil || b.snapshot == nil {
		return
	}
	shown := b.snapshot
	for _, w := range k.waiting {
		if w.hold == nil {
			continue // its own landing tells
		}
		if w.delta == nil || !w.delta.Shows() {
			return
		}
		if shown = w.delta.Show(shown); shown == nil {
			return
		}
	}
	if !shown.Told() {
		shown = shown.Tell()
	}
	k.shown = shown
}

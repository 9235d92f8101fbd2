package coalesce

import (
	"time"

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
	defer l.running.Done()
	for flying := l.board(); len(flying) > 0; flying = l.board() {
		commits := flying[:0:0]
		for _, b := range flying {
			if b.delta == nil {
				l.carry([]*batch{b}) // a removal goes alone
			} else {
				commits = append(commits, b)
			}
		}
		if len(commits) > 0 {
			l.carry(commits)
		}
	}
}

// board puts the first batches of lanes that are due in flight. Where none is, the
// worker ends.
func (l *lanes) board() []*batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := 1
	if l.batcher != nil {
		most = pipelineSize
	}
	var flying []*batch
	for len(l.due) > 0 && len(flying) < most && !l.closed {
		k := l.due[0]
		l.due[0] = nil
		l.due = l.due[1:]
		k.queued = false
		k.flying, k.waiting = k.waiting[0], k.waiting[1:]
		if h := k.flying.hold; h != nil && len(k.waiting) == 0 {
			h.shown = k.shown
		}
		flying = append(flying, k.flying)
	}
	if len(l.due) == 0 {
		l.due = nil
	}
	if len(flying) == 0 {
		l.workers--
	}
	return flying
}

// carry brings batches to the store and sees to what becomes of each.
func (l *lanes) carry(batches []*batch) {
	began := time.Now()
	if len(batches) == 1 {
		l.run(batches[0])
	} else {
		l.together(batches)
	}
	var (
		lost   []GiveUp
		differ []string
	)
	for _, b := range batches {
		if b.err == nil && b.delta != nil {
			l.landed(b, began)
		}
	}
	l.mu.Lock()
	for _, b := range batches {
		given, unlike := l.land(b)
		if given != nil {
			lost = append(lost, *given)
		}
		if unlike {
			differ = append(differ, b.id)
		}
	}
	l.mu.Unlock()
	for _, id := range differ {
		l.differs(id)
	}
	for n := range lost {
		l.gaveUp(lost[n])
	}
}

// land ends a batch or lets it wait for its next attempt. It is called under mu, and
// answers what was given up, and whether readers were shown something else than what
// has become of the session.
func (l *lanes) land(b *batch) (lost *GiveUp, differs bool) {
	k := l.lanes[b.id]
	k.flying = nil
	defer l.arrange(k)
	if b.snapshot != nil && len(k.waiting) > 0 && !k.removing() {
		k.waiting[0].delta = k.waiting[0].delta.Onto(b.snapshot)
	}
	h := b.hold
	if h == nil {
		if b.err != nil && b.annuls.Changes > 0 {
			b.annuls.Cause = b.err
			lost = &b.annuls
		}
		l.finish(k, b, b.snapshot, b.err)
		return lost, false
	}
	switch {
	case b.err == nil:
		// Where the store doesn't tell, or was read meanwhile, nobody knows.
		differs = b.snapshot == nil || h.read || h.shown != nil && !h.shown.Same(b.snapshot)
	case l.closed:
		k.waiting = append([]*batch{b}, k.waiting...) // undelivered
		return nil, false
	case k.removing():
		k.waiting[0].annul(b)
		differs = true
	case h.claimed:
		differs = true
	case b.err != tiers.ErrRevoked && h.again():
		b.snapshot, b.err, b.panicked = nil, nil, nil
		k.waiting = append([]*batch{b}, k.waiting...)
		return nil, false
	default:
		lost, differs = &GiveUp{Cause: b.err}, true
		lost.add(b)
	}
	if differs {
		k.shown = nil
	}
	l.finish(k, b, b.snapshot, b.err)
	return lost, differs
}

package coalesce

import (
	"context"

	"github.com/gf-strata/strata/tiers"
)

// work takes what is due to a batching store, as much as waits at that moment, until
// nothing does. Nobody is made to wait for others to come: commits meet because all
// pipelines are busy.
func (l *lanes) work() {
	defer l.running.Done()
	for {
		flying := l.board()
		if len(flying) == 0 {
			return
		}
		l.fly(flying)
		l.land(flying)
	}
}

// board puts the first batches of the lanes that are due in flight. Where none is,
// the worker ends.
func (l *lanes) board() []*batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.due), pipelineSize)
	flying := make([]*batch, 0, n)
	for _, k := range l.due[:n] {
		if b := l.next(k); b != nil {
			flying = append(flying, b)
		}
	}
	if l.due = l.due[n:]; len(l.due) == 0 {
		l.due = nil
	}
	if len(flying) == 0 {
		l.workers--
	}
	return flying
}

// fly sends the batches' commits together. Removals go alone.
func (l *lanes) fly(batches []*batch) {
	commits := batches[:0:0]
	for _, b := range batches {
		if b.delta == nil {
			b.run(l.store, l.timeout)
		} else {
			commits = append(commits, b)
		}
	}
	switch len(commits) {
	case 0:
	case 1:
		commits[0].run(l.store, l.timeout)
	default:
		l.together(commits)
	}
}

func (l *lanes) together(batches []*batch) {
	// The values of one caller's context, its span say, stand for all.
	ctx, cancel := context.WithTimeout(batches[0].ctx, l.timeout)
	defer cancel()
	commits := make([]tiers.Commit, len(batches))
	for n, b := range batches {
		commits[n] = tiers.Commit{ID: b.id, Delta: b.delta, TTL: b.ttl}
	}
	ended := 0
	defer func() {
		if ended < len(batches) {
			panicked := recover()
			for _, b := range batches[ended:] {
				b.panicked = panicked
				b.end(nil, errAborted)
			}
		}
	}()
	results := l.batcher.CommitAll(ctx, commits)
	for n, b := range batches {
		b.end(results[n].Snapshot, results[n].Err)
		ended++
	}
}

// land makes the lanes due again whose next batch waits.
func (l *lanes) land(batches []*batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range batches {
		k := l.lanes[b.id]
		k.flying = nil
		if len(k.waiting) == 0 {
			delete(l.lanes, k.id)
			continue
		}
		l.due = append(l.due, k)
	}
}

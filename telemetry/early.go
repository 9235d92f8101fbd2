package telemetry

import (
	"sync"
	"time"
)

const (
	// maxEarly bounds the warnings that wait; the first ones say why the others came.
	maxEarly = 64

	// earlyPatience is how long they wait for a chain to tell where to log. Nothing is
	// done meanwhile but to build it.
	earlyPatience = time.Second
)

// early are the warnings of a layer that is being built: the chain knows where they go
// only when all of it stands. A layer that isn't in a chain logs them after a while.
//
// mu guards all fields. said ends it for good.
type early struct {
	mu    sync.Mutex
	kept  []warning
	alarm *time.Timer
	said  bool
}

// keep takes a warning; the alarm is called when nobody has said it in time. It is false
// where warnings don't wait any more.
func (e *early) keep(w warning, alarm func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.said {
		return false
	}
	if len(e.kept) < maxEarly {
		e.kept = append(e.kept, w)
	}
	if e.alarm == nil {
		e.alarm = time.AfterFunc(earlyPatience, alarm)
	}
	return true
}

// say logs what waits.
func (e *early) say(log *rareLog) {
	e.mu.Lock()
	kept := e.kept
	e.said, e.kept = true, nil
	if e.alarm != nil {
		e.alarm.Stop()
	}
	e.mu.Unlock()
	for _, w := range kept {
		log.warn(w.ctx, w.cause, w.message, w.attributes...)
	}
}

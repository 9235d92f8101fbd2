package coalesce

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"time"
)

// reports are told to whoever wants to know by a goroutine of their own, so that nothing
// waits for a callback or a log. Those that come while one is told are put together.
//
// say and log are set at construction and called by that goroutine alone; mu guards the rest.
type reports struct {
	say func(GiveUp)
	log func(lost GiveUp, unheard, trouble error)

	mu       sync.Mutex
	lost     []GiveUp // that wait to be told
	untold   GiveUp   // and to be logged
	unheard  error    // of a write whose caller has gone, the last one
	trouble  error    // of a write that is tried again, the last one
	logged   time.Time
	troubled time.Time
	closing  bool
	wake     chan struct{} // of the goroutine; nil while there is none
	idle     chan struct{} // closed when it has ended
}

// mostReports is how many wait, before what is lost goes into the last one.
const mostReports = 64

// logEvery is the time from one line about what was given up to the next, in which all is
// counted.
const logEvery = 10 * time.Second

// troubleEvery is the time between two lines about writes that are tried again.
const troubleEvery = time.Minute

func (r *reports) gaveUp(lost GiveUp) {
	r.add(func() {
		if n := len(r.lost); n < mostReports {
			r.lost = append(r.lost, lost)
		} else {
			r.lost[n-1].join(lost)
		}
		r.untold.join(lost)
	})
}

func (r *reports) failed(unheard, trouble error) {
	r.add(func() {
		if unheard != nil {
			r.unheard = unheard
		}
		if now := time.Now(); trouble != nil && (r.troubled.IsZero() || now.Sub(r.troubled) >= troubleEvery) {
			r.trouble, r.troubled = trouble, now
		}
	})
}

func (r *reports) add(note func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	note()
	r.start()
}

// start is called under mu.
func (r *reports) start() {
	if r.wake == nil {
		r.wake, r.idle = make(chan struct{}, 1), make(chan struct{})
		go r.run(r.wake, r.idle)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reports) run(wake, idle chan struct{}) {
	defer close(idle)
	for {
		pause, more := r.tell()
		if !more {
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// tell tells what waits, and answers when to come again.
func (r *reports) tell() (pause time.Duration, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.lost) > 0 || r.unheard != nil || r.trouble != nil || r.due() {
		lost, untold, unheard, trouble := r.lost, GiveUp{}, r.unheard, r.trouble
		if r.lost, r.unheard, r.trouble = nil, nil, nil; r.due() {
			untold, r.untold, r.logged = r.untold, GiveUp{}, time.Now()
		}
		r.mu.Unlock()
		r.log(untold, unheard, trouble)
		for _, l := range lost {
			r.call(l)
		}
		r.mu.Lock()
	}
	if r.untold.Changes > 0 {
		return time.Until(r.logged.Add(logEvery)), true
	}
	r.wake = nil
	return 0, false
}

// due reports whether what was given up is to be logged now. It is called under mu.
func (r *reports) due() bool {
	return r.untold.Changes > 0 && (r.closing || r.logged.IsZero() || time.Since(r.logged) >= logEvery)
}

// call is told apart from other functions by inCallback. A panic of a callback is not ours
// to hide.
//
//go:noinline
func (r *reports) call(lost GiveUp) {
	if r.say != nil {
		r.say(lost)
	}
}

// inCallback reports whether its caller was called by a callback.
func inCallback() bool {
	stack := make([]uintptr, 512)
	frames := runtime.CallersFrames(stack[:runtime.Callers(1, stack)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "coalesce.(*reports).call") {
			return true
		}
		if !more {
			return false
		}
	}
}

// close has everything told by the time it returns, or ctx ends.
func (r *reports) close(ctx context.Context) {
	r.mu.Lock()
	r.closing = true
	if r.untold.Changes > 0 {
		r.start()
	}
	idle := r.idle
	r.mu.Unlock()
	if idle != nil {
		_ = within(ctx, func() error { <-idle; return nil })
	}
}

package coalesce

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// GiveUp is a report of changes that were accepted and will not reach the store: the session was removed or
// has expired, or the store took none of the attempts, or not before the chain was closed. Those of ten seconds are
// one report, and so are those of Close, which also counts changes that a log-out annuls, if the log-out itself is
// still at the store: they are void if it succeeds.
type GiveUp struct {
	Changes  int           // calls whose changes are lost
	Attempts int           // that have failed
	Age      time.Duration // since the first of the changes was accepted
	Cause    error         // the last failure, of those that aren't ErrRevoked if there are any; it names no session
}

// lossOf reports those of the writes that were accepted.
func lossOf(cause error, writes ...*write) (lost GiveUp) {
	for _, w := range writes {
		if w.pending {
			lost.join(GiveUp{Changes: w.calls, Attempts: w.attempts, Age: time.Since(w.since), Cause: cause})
		}
	}
	return lost
}

// join takes another report in. A session that was removed elsewhere is no fault: it must not hide one.
func (g *GiveUp) join(other GiveUp) {
	g.Changes += other.Changes
	g.Attempts = max(g.Attempts, other.Attempts)
	g.Age = max(g.Age, other.Age)
	if g.Cause == nil || !errors.Is(other.Cause, tiers.ErrRevoked) {
		g.Cause = other.Cause
	}
}

// reportEvery is the time from one report to the next, in which all is counted.
const reportEvery = 10 * time.Second

// reports go to the log, and to the callback on a goroutine of their own, so that nothing waits for
// either. The first goes at once; those that come in the next ten seconds, or while the callback runs, are one.
//
// The first block is set before anything is reported, and the callback is called by that goroutine alone; mu
// guards the rest.
type reports struct {
	callback func(GiveUp) // nil for none
	reporter *telemetry.Reporter
	journal  *journal.Journal // nil for none
	tally    *telemetry.Tally
	hurry    <-chan struct{} // closed when no report is to be put off any more

	mu      sync.Mutex
	next    loss
	running chan error // closed when the goroutine ends; nil while there is none
}

// loss is a report that waits, and its entry in the journal until it was made.
type loss struct {
	GiveUp
	entry uint64
}

// gaveUp reports changes that are lost, before they leave the journal.
func (r *reports) gaveUp(lost GiveUp) {
	if lost.Changes == 0 {
		return
	}
	kind := telemetry.GiveUpFailed
	if errors.Is(lost.Cause, tiers.ErrRevoked) {
		kind = telemetry.GiveUpRevoked
	}
	r.tally.AddN(kind, lost.Changes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next.join(lost)
	changes := r.next.Changes
	r.journal.Put(&r.next.entry, func() []byte {
		content, _ := json.Marshal(record{Lost: changes})
		return content
	})
	if r.running == nil {
		r.running = make(chan error)
		go r.run(r.running)
	}
}

// warn logs a line. The reporter logs one each ten seconds of a kind.
func (r *reports) warn(kind, message string, attributes ...slog.Attr) {
	r.reporter.Warn(context.Background(), kind, message, attributes...)
}

// unheard logs that a write has failed when its caller had gone.
func (r *reports) unheard(err error) {
	r.warn("unheard "+failure.ErrorType(err), "strata: a session could not be written, and the request had gone by then",
		slog.String("error", failure.Explain(err)))
}

// trouble logs why writes are tried again, and how many are pending.
func (r *reports) trouble(err error, changes int, bytes int64) {
	r.warn("trouble", "strata: the store doesn't take changes of sessions; they wait and are tried again",
		slog.Int("pending", changes), slog.Int64("pending_bytes", bytes), slog.String("error", failure.Explain(err)))
}

func (r *reports) run(running chan error) {
	over := false
	defer func() {
		if over {
			close(running)
		} else {
			go r.run(running) // the callback has ended this goroutine
		}
	}()
	for lost, ok := r.take(); ok; lost, ok = r.take() {
		r.warn("", "strata: gave up changes of sessions that were accepted",
			slog.Int("changes", lost.Changes), slog.Int("failed_attempts", lost.Attempts),
			slog.Duration("age", lost.Age.Round(time.Millisecond)), slog.String("error", failure.Explain(lost.Cause)))
		r.call(lost.GiveUp)
		r.journal.Drop(&lost.entry)
		select {
		case <-time.After(reportEvery):
		case <-r.hurry:
		}
	}
	over = true
}

// take returns the next report, false if there is none.
func (r *reports) take() (lost loss, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next.Changes == 0 {
		r.running = nil
		return lost, false
	}
	lost, r.next = r.next, loss{}
	return lost, true
}

// call is the function that inCallback looks for in the stack. A panic of a callback is not ours
// to hide.
//
//go:noinline
func (r *reports) call(lost GiveUp) {
	if r.callback != nil {
		r.callback(lost)
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

// close has everything reported by the time it returns, or ctx ends.
func (r *reports) close(ctx context.Context) {
	r.mu.Lock()
	running := r.running
	r.mu.Unlock()
	if running != nil {
		_ = await(ctx, running)
	}
	r.reporter.Flush(ctx)
}

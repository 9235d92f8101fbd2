package coalesce

import (
	"context"
	"encoding/json"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/telemetry"
)

// GiveUp is a report of changes that were accepted and will not reach the store: the
// session was removed or has expired, or the store took none of the attempts, or not
// before the chain was closed, which makes one report of all sessions.
type GiveUp struct {
	Changes  int           // calls whose changes are lost
	Attempts int           // that have failed
	Age      time.Duration // since the first of the changes was accepted
	Cause    error         // the last failure; it names no session
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

// join takes another report in.
func (g *GiveUp) join(other GiveUp) {
	g.Changes += other.Changes
	g.Attempts = max(g.Attempts, other.Attempts)
	g.Age = max(g.Age, other.Age)
	g.Cause = other.Cause
}

const (
	mostReports  = 64               // that wait, before what is lost goes into the last one
	logEvery     = 10 * time.Second // from one line about what was given up to the next, in which all is counted
	troubleEvery = time.Minute      // between two lines about writes that are tried again
)

// reports go to the log and to the callback on a goroutine of their own, so that nothing waits for
// either. Those that come while it runs are put together.
//
// The first block is set before anything is reported, and the callback is called by that goroutine alone; mu
// guards the rest.
type reports struct {
	callback func(GiveUp) // nil for none
	reporter *telemetry.Reporter
	journal  *journal.Journal // nil for none
	tally    *telemetry.Tally
	pending  func() (changes int, bytes int64, oldest time.Duration)

	mu       sync.Mutex
	lost     []loss            // for the callback
	lines    map[string]func() // for the log, the last one of each kind
	unlogged GiveUp
	logged   time.Time
	troubled time.Time
	closing  bool
	later    *time.Timer // until what is unlogged is due
	running  chan error  // closed when the goroutine ends; nil while there is none
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
	r.tally.AddN(telemetry.GiveUps, lost.Changes)
	r.add(func() {
		if len(r.lost) < mostReports {
			r.lost = append(r.lost, loss{GiveUp: GiveUp{Cause: lost.Cause}})
		}
		last := &r.lost[len(r.lost)-1]
		last.join(lost)
		changes := last.Changes
		r.journal.Put(&last.entry, func() []byte {
			content, _ := json.Marshal(record{Lost: changes})
			return content
		})
		r.unlogged.join(lost)
	})
}

// warn logs a line. The reporter logs one each ten seconds of a kind.
func (r *reports) warn(kind, message string, attributes ...slog.Attr) {
	r.add(func() {
		r.lines[kind] = func() { r.reporter.Warn(context.Background(), kind, message, attributes...) }
	})
}

// unheard logs that a write has failed when its caller had gone.
func (r *reports) unheard(err error) {
	r.warn("unheard "+failure.ErrorType(err), "strata: a session could not be written, and the request had gone by then",
		slog.String("error", failure.Explain(err)))
}

// trouble logs why writes are tried again.
func (r *reports) trouble(err error) {
	r.add(func() {
		if now := time.Now(); r.troubled.IsZero() || now.Sub(r.troubled) >= troubleEvery {
			r.troubled = now
			r.lines["trouble"] = func() {
				changes, bytes, oldest := r.pending()
				r.reporter.Warn(context.Background(), "", "strata: the store doesn't take changes of sessions; they wait and are tried again",
					slog.Int("pending", changes), slog.Int64("pending_bytes", bytes),
					slog.Duration("oldest", oldest.Round(time.Millisecond)), slog.String("error", failure.Explain(err)))
			}
		}
	})
}

// add notes something, and sees to it that the goroutine runs.
func (r *reports) add(note func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if note(); r.running == nil {
		r.running = make(chan error)
		go r.run(r.running)
	}
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
	for report := r.next(); report != nil; report = r.next() {
		report()
	}
	over = true
}

// next returns what is to be reported next, nil for nothing.
func (r *reports) next() func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for kind, line := range r.lines {
		delete(r.lines, kind)
		return line
	}
	if r.due() {
		lost := r.unlogged
		r.unlogged, r.logged = GiveUp{}, time.Now()
		return func() {
			r.reporter.Warn(context.Background(), "", "strata: gave up changes of sessions that were accepted",
				slog.Int("changes", lost.Changes), slog.Int("failed_attempts", lost.Attempts),
				slog.Duration("age", lost.Age.Round(time.Millisecond)), slog.String("error", failure.Explain(lost.Cause)))
		}
	}
	if len(r.lost) > 0 {
		lost := r.lost[0]
		r.lost = r.lost[1:]
		return func() {
			r.call(lost.GiveUp)
			r.journal.Drop(&lost.entry)
		}
	}
	if r.running = nil; r.unlogged.Changes > 0 {
		r.later = time.AfterFunc(time.Until(r.logged.Add(logEvery)), func() { r.add(func() {}) })
	}
	return nil
}

// due reports whether what was given up is to be logged now. It is called under mu.
func (r *reports) due() bool {
	return r.unlogged.Changes > 0 && (r.closing || r.logged.IsZero() || time.Since(r.logged) >= logEvery)
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
	r.add(func() { r.closing = true })
	r.mu.Lock()
	running := r.running
	if r.later != nil {
		r.later.Stop()
	}
	r.mu.Unlock()
	if running != nil {
		_ = await(ctx, running)
	}
}

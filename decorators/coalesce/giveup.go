package coalesce

import (
	"context"
	"log/slog"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
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

func (g *GiveUp) add(b *batch) {
	g.Changes += b.changes
	g.Attempts = max(g.Attempts, b.hold.attempts)
	g.Age = max(g.Age, time.Since(b.hold.accepted))
}

// join takes another report in.
func (g *GiveUp) join(other GiveUp) {
	g.Changes += other.Changes
	g.Attempts = max(g.Attempts, other.Attempts)
	g.Age = max(g.Age, other.Age)
}

// gaveUp reports to whoever wants to know, and to the log.
func (s *Storage) gaveUp(lost GiveUp) {
	s.tally.AddN(telemetry.GiveUps, lost.Changes)
	s.reporter.Warn(context.Background(), "give-up "+tiers.ErrorType(lost.Cause),
		"strata: gave up changes of sessions that were accepted",
		slog.Int("changes", lost.Changes), slog.Int("failed_attempts", lost.Attempts),
		slog.Duration("age", lost.Age.Round(time.Millisecond)), slog.String("error", tiers.Explain(lost.Cause)))
	if s.options.giveUp != nil {
		s.options.giveUp(lost)
	}
}

// stay reports what Close leaves in the journal.
func (s *Storage) stay(changes int) {
	s.reporter.Warn(context.Background(), "stay",
		"strata: the store didn't take all changes of sessions before the chain was closed; they wait in the journal",
		slog.Int("changes", changes))
}

// unheard reports a write that failed when its caller had gone.
func (s *Storage) unheard(err error) {
	s.reporter.Warn(context.Background(), "unheard "+tiers.ErrorType(err),
		"strata: a session could not be written, and the request had gone by then",
		slog.String("error", tiers.Explain(err)))
}

// Pending answers how many changes wait that were accepted, what they take in bytes, and
// for how long the oldest has been waiting.
func (s *Storage) Pending() (changes int, bytes int64, oldest time.Duration) {
	l := &s.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	if first := l.accepted.Front(); first != nil {
		oldest = time.Since(first.Value.(*hold).accepted)
	}
	return l.heldChanges, l.heldBytes, oldest
}

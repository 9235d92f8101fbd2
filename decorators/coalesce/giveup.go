package coalesce

import (
	"context"
	"log/slog"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// GiveUp is a report of changes that were accepted and will not reach the store: the
// session was removed or has expired, or the store took none of the attempts.
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

// gaveUp reports to whoever wants to know, and to the log.
func (s *Storage) gaveUp(lost GiveUp) {
	s.tally.AddN(telemetry.GiveUps, lost.Changes)
	s.reporter.Warn(context.Background(), "give-up "+tiers.ErrorType(lost.Cause),
		"strata: gave up changes of a session that were accepted",
		slog.Int("changes", lost.Changes), slog.Int("failed_attempts", lost.Attempts),
		slog.Duration("age", lost.Age.Round(time.Millisecond)), slog.String("error", tiers.Explain(lost.Cause)))
	if s.options.giveUp != nil {
		s.options.giveUp(lost)
	}
}

// Pending answers how many changes wait that were accepted, what they take in bytes, and
// for how long the oldest has been waiting.
func (s *Storage) Pending() (changes int, bytes int64, oldest time.Duration) {
	s.lanes.mu.Lock()
	defer s.lanes.mu.Unlock()
	batches, _ := s.lanes.pending()
	for _, b := range batches {
		if b.hold != nil {
			changes += b.changes
			oldest = max(oldest, time.Since(b.hold.accepted))
		}
	}
	return changes, s.lanes.heldBytes, oldest
}

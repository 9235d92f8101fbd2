package coalesce

import (
	"context"
	"log/slog"
	"time"

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

// add takes a batch in that was accepted.
func (g *GiveUp) add(b *batch) {
	if b.hold != nil {
		g.join(GiveUp{Changes: b.changes, Attempts: b.hold.attempts, Age: time.Since(b.since), Cause: g.Cause})
	}
}

// join takes another report in.
func (g *GiveUp) join(other GiveUp) {
	g.Changes += other.Changes
	g.Attempts = max(g.Attempts, other.Attempts)
	g.Age = max(g.Age, other.Age)
	g.Cause = other.Cause
}

// log says what was given up since the last line of that kind, whose write failed when its
// caller had gone, and why writes are tried again.
func (s *Storage) log(lost GiveUp, unheard, trouble error) {
	ctx := context.Background()
	if lost.Changes > 0 {
		s.reporter.Warn(ctx, "", // reports have put together what came within ten seconds
			"strata: gave up changes of sessions that were accepted",
			slog.Int("changes", lost.Changes), slog.Int("failed_attempts", lost.Attempts),
			slog.Duration("age", lost.Age.Round(time.Millisecond)), slog.String("error", tiers.Explain(lost.Cause)))
	}
	if unheard != nil {
		s.reporter.Warn(ctx, "unheard "+tiers.ErrorType(unheard),
			"strata: a session could not be written, and the request had gone by then",
			slog.String("error", tiers.Explain(unheard)))
	}
	if trouble != nil {
		changes, bytes, oldest := s.Pending()
		s.reporter.Warn(ctx, "",
			"strata: the store doesn't take changes of sessions; they wait and are tried again",
			slog.Int("pending", changes), slog.Int64("pending_bytes", bytes),
			slog.Duration("oldest", oldest.Round(time.Millisecond)), slog.String("error", tiers.Explain(trouble)))
	}
}

// stay reports what Close leaves in the journal.
func (s *Storage) stay(changes int) {
	s.reporter.Warn(context.Background(), "stay",
		"strata: the store didn't take all changes of sessions before the chain was closed; they wait in the journal",
		slog.Int("changes", changes))
}

// Pending answers how many changes aren't in the store yet, what they take in bytes, and
// for how long the oldest has been waiting.
func (s *Storage) Pending() (changes int, bytes int64, oldest time.Duration) {
	l := &s.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.room.changes, l.room.bytes, l.room.oldest()
}

package coalesce

import "github.com/gf-strata/strata/telemetry"

// Tally is where the layer counts.
func (s *Storage) Tally() *telemetry.Tally { return &s.tally }

// Gauges tells what is pending.
func (s *Storage) Gauges(set func(telemetry.Gauge, float64)) {
	changes, bytes, oldest := s.Pending()
	set(telemetry.PendingChanges, float64(changes))
	set(telemetry.PendingMemory, float64(bytes))
	set(telemetry.PendingAge, oldest.Seconds())
}

// Report tells the layer and what it stands on where to report.
func (s *Storage) Report(to *telemetry.Sink) {
	s.reporter.Move(to, s)
	telemetry.Tell(s.inner, to)
}

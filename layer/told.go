package layer

import (
	"context"
	"errors"
	"log/slog"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// sinkOf is where the outermost Traced that says so has the chain report.
func sinkOf(layers []gsession.Storage) *telemetry.Sink {
	for _, l := range layers {
		if traced, ok := l.(interface{ Sink() *telemetry.Sink }); ok && traced.Sink() != nil {
			return traced.Sink()
		}
	}
	return telemetry.Standard()
}

// Report tells all layers where to report, as Chain does. It is for a chain that is the
// store of another one, which does so by itself.
func (s *Stack) Report(to *telemetry.Sink) {
	p := s.parts()
	to = to.Over(p.layers[len(p.layers)-1])
	p.reporter.Move(to, &p.refused)
	telemetry.ReportTo(p.top, to)
	for _, l := range p.layers {
		telemetry.ReportTo(l, to)
	}
}

// Delays are how long the store, invalidations and what the chain else has measured took, since the
// first call, which begins it: a chain that nobody looks at pays nothing. Package status draws them.
func (s *Stack) Delays() []telemetry.Delay { return s.parts().reporter.Delays() }

// refusals count the writes of a chain that came after a removal. The tally guards itself.
type refusals struct{ tally telemetry.Tally }

func (r *refusals) Tally() *telemetry.Tally { return &r.tally }

func (r *refusals) Gauges(func(telemetry.Gauge, float64)) {}

// told logs an error that GoFrame drops when it closes a session. A client that goes away
// is none where a layer has the write in hand, and reports for itself.
func (p *parts) told(ctx context.Context, message string, err error) error {
	if err == nil || errors.Is(err, gsession.ErrorDisabled) || errors.Is(err, tiers.ErrUnderWay) || sessionmap.RefusedBefore(err) {
		return err
	}
	if errors.Is(err, ErrRevoked) {
		p.refused.tally.Add(telemetry.Revocations)
	}
	p.reporter.Warn(ctx, message+tiers.ErrorType(err), message, slog.String("error", tiers.Explain(err)))
	return err
}

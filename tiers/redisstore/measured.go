package redisstore

import (
	"context"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// measured is how long one operation takes, from its first command: what never reaches the
// server isn't the server's time. Only its kind and the type of its error are told.
//
// It belongs to the goroutine of its operation.
type measured struct {
	meter    *telemetry.Store
	began    time.Time
	sent     bool
	returned bool
	err      error
}

func (s *Storage) measure() *measured { return &measured{meter: s.meter} }

// send is called before each command.
func (m *measured) send() {
	if !m.sent {
		m.sent, m.began = true, m.meter.Begin()
	}
}

// done takes down how the operation ended. An end without it is a panic.
func (m *measured) done(err error) { m.returned, m.err = true, err }

// end is to be deferred.
func (m *measured) end(ctx context.Context, operation telemetry.Operation) {
	errorType := telemetry.TypePanic
	if m.returned {
		errorType = tiers.ErrorType(m.err)
	}
	m.meter.End(ctx, m.began, operation, errorType)
}

package trace

import (
	"errors"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// result is the outcome with the class of what went wrong. What a caller has to
// expect is no failure: a store that disables a method says how it wants to be used.
func (o *operation) result() (outcome telemetry.Outcome, errorType string) {
	switch {
	case !o.returned:
		return telemetry.Failed, telemetry.TypePanic
	case o.err == nil:
		return o.outcome, ""
	case errors.Is(o.err, gsession.ErrorDisabled):
		return telemetry.Disabled, ""
	case errors.Is(o.err, tiers.ErrRevoked):
		return telemetry.Revoked, tiers.ErrorType(o.err)
	default:
		return telemetry.Failed, tiers.ErrorType(o.err)
	}
}

// loaded is the outcome of a Load. That memory knows of no session says more than
// that there is none.
func loaded(read tiers.Read) telemetry.Outcome {
	if read.Snapshot == nil && read.Outcome != tiers.OutcomeNegative {
		return telemetry.Absent
	}
	return read.Outcome
}

// found is the outcome of a read past the snapshots.
func found(there bool) telemetry.Outcome {
	if there {
		return telemetry.OK
	}
	return telemetry.Absent
}

// keysOf counts a snapshot's keys.
func keysOf(s *tiers.Snapshot) int {
	if s == nil {
		return uncounted
	}
	return s.Len()
}

// styleName is the style as telemetry names it, "" while it isn't known.
func styleName(style tiers.Style) string {
	switch style {
	case tiers.StyleSnapshot:
		return "snapshot"
	case tiers.StyleDirect:
		return "direct"
	case tiers.StyleOpaque:
		return "opaque"
	default:
		return ""
	}
}

package telemetry_test

import (
	"strings"
	"testing"

	"github.com/gf-strata/strata/telemetry"
)

func TestEveryOperationIsNamed(t *testing.T) {
	for op := telemetry.New; op <= telemetry.Index; op++ {
		if name := op.SpanName(); name != "session "+op.String() || strings.TrimSpace(op.String()) == "" {
			t.Errorf("operation %d: span %q, name %q", op, name, op)
		}
	}
}

func TestOnlyRevokedAndErrorAreFailures(t *testing.T) {
	for _, o := range []telemetry.Outcome{
		telemetry.Hit, telemetry.Negative, telemetry.Miss, telemetry.Absent, telemetry.Pending, telemetry.Stale, telemetry.OK, telemetry.Disabled,
	} {
		if o.Failure() {
			t.Errorf("%s is a failure", o)
		}
	}
	if !telemetry.Revoked.Failure() || !telemetry.Failed.Failure() {
		t.Error("revoked or error is no failure")
	}
}

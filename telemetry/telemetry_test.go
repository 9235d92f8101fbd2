package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/gogf/gf/v2/errors/gerror"

	"github.com/gf-strata/strata/telemetry"
)

func TestErrorType(t *testing.T) {
	path := &fs.PathError{Op: "open", Path: "secret", Err: errors.New("secret")}
	cases := []struct {
		err  error
		want string
	}{
		{nil, ""},
		{context.Canceled, "context_canceled"},
		{fmt.Errorf("secret: %w", context.DeadlineExceeded), "deadline_exceeded"},
		{gerror.Wrap(context.Canceled, "secret"), "context_canceled"},
		{errors.New("secret"), "*errors.errorString"},
		{gerror.New("secret"), "*gerror.Error"},
		{gerror.Wrap(path, "secret"), "*errors.errorString"},
		{&fs.PathError{Path: "secret"}, "*fs.PathError"},
		{errors.Join(&fs.PathError{}, context.Canceled), "context_canceled"},
		{errors.Join(&fs.PathError{}, errors.New("secret")), "*fs.PathError"},
		{fmt.Errorf("%w, %w", &fs.PathError{}, path), "*fs.PathError"},
	}
	for _, c := range cases {
		if got := telemetry.ErrorType(c.err); got != c.want {
			t.Errorf("%T: %q, want %q", c.err, got, c.want)
		}
	}
}

func TestEveryOperationIsNamed(t *testing.T) {
	for op := telemetry.New; op <= telemetry.LoadAll; op++ {
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

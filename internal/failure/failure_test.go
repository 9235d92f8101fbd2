package failure_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/gogf/gf/v2/errors/gerror"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/tiers"
)

func TestErrorTypeIsAConstantOrAGoTypeAndNoText(t *testing.T) {
	path := &fs.PathError{Op: "open", Path: "secret", Err: errors.New("secret")}
	cases := []struct {
		err  error
		want string
	}{
		{nil, ""},
		{fmt.Errorf("secret: %w", tiers.ErrRevoked), "revoked"},
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
		if got := failure.ErrorType(c.err); got != c.want {
			t.Errorf("%T: %q, want %q", c.err, got, c.want)
		}
	}
}

func TestMarksOfErrorsHold(t *testing.T) {
	closed := tiers.NewError("strata: closed", nil)
	err := tiers.NotApplied(closed)
	if tiers.MayBeApplied(err) || !errors.Is(err, closed) {
		t.Error("an error that says that nothing was applied isn't believed")
	}
	if partly := failure.PartlyApplied(err); !tiers.MayBeApplied(partly) || !errors.Is(partly, closed) {
		t.Error("an error that says that something was applied isn't believed")
	}
}

// listed is an error of a type that can't be compared.
type listed []string

func (l listed) Error() string { return strings.Join(l, " ") }

func TestFaultsAreNamed(t *testing.T) {
	for want, err := range map[string]error{
		"timed out":             &net.DNSError{IsTimeout: true},
		"connection refused":    &net.OpError{Err: syscall.ECONNREFUSED},
		"unexpected EOF":        fmt.Errorf("x: %w", io.ErrUnexpectedEOF),
		"*errors.errorString":   fmt.Errorf("x: %w", errors.New("secret")),
		"failure_test.listed":   listed{"secret"},
		"strata: what happened": fmt.Errorf("x: %w", tiers.NewError("strata: what happened", nil)),
	} {
		if got := failure.Explain(err); got != want {
			t.Errorf("Explain(%T) = %q, want %q", err, got, want)
		}
	}
	if e := tiers.NewError("text", io.EOF); e.Error() != "text" || !errors.Is(e, io.EOF) || errors.Unwrap(tiers.NewError("text", nil)) != nil {
		t.Error("NewError lost its text or cause")
	}
}

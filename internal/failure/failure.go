// Package failure says what has become of a call that failed, to callers, logs and telemetry.
package failure

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"syscall"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// IsFinal reports whether an error of a commit says what has become of it for good, so
// that no other attempt is made.
func IsFinal(err error) bool {
	var r *refused
	return errors.Is(err, tiers.ErrRevoked) || errors.Is(err, tiers.ErrConflict) || errors.As(err, &r)
}

// Refused marks the error of a write that the store will never take.
func Refused(err error) error { return &refused{tiers.NotApplied(err)} }

type refused struct{ error }

func (r *refused) Unwrap() error { return r.error }

// PartlyApplied marks the error of a write of which something was applied before.
func PartlyApplied(err error) error { return &partlyApplied{err} }

type partlyApplied struct{ error }

func (p *partlyApplied) Unwrap() error    { return p.error }
func (p *partlyApplied) NotApplied() bool { return false }

// BatchFailure is the first error of a batch that is a fault. That some of its
// sessions were removed meanwhile is no failure of the batch.
func BatchFailure[R any](results []R, err func(R) error) error {
	for _, r := range results {
		if e := err(r); e != nil && !errors.Is(e, tiers.ErrRevoked) {
			return e
		}
	}
	return nil
}

// SetupError is the panic of a layer's constructor if the environment is at fault and not the program:
// layer.New returns the cause.
type SetupError struct{ Cause error }

func (e *SetupError) Error() string { return e.Cause.Error() }
func (e *SetupError) Unwrap() error { return e.Cause }

// ErrUnderWay is the error of a call that hasn't waited for its write. The write goes on, and the
// layer that has it reports if it fails.
var ErrUnderWay = tiers.NewError("strata: the request didn't wait for its write, which goes on", nil)

// UnderWay is ErrUnderWay with the reason, the end of the caller's context.
func UnderWay(reason error) error {
	return tiers.NewError(ErrUnderWay.Error(), errors.Join(ErrUnderWay, reason))
}

// ErrorType is the class of an error, as the attribute error.type has it: a constant, or a Go
// type, of which a program has few. The error's text is not looked at (law 10). It is "" if
// there is no error.
func ErrorType(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, tiers.ErrRevoked):
		return telemetry.TypeRevoked
	case errors.Is(err, context.Canceled):
		return telemetry.TypeCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return telemetry.TypeDeadlineExceeded
	}
	return reflect.TypeOf(innermost(err)).String()
}

// innermost unwraps to where the error began; of joined errors it follows the first.
func innermost(err error) error {
	for {
		var next error
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			next = e.Unwrap()
		case interface{ Unwrap() []error }:
			if all := e.Unwrap(); len(all) > 0 {
				next = all[0]
			}
		}
		if next == nil {
			return err
		}
		err = next
	}
}

// harmless are the faults whose texts are constants.
var harmless = []error{
	gsession.ErrorDisabled, context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, io.ErrShortWrite,
	fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrClosed,
}

// Explain returns an error in words that hold no session id, key, value or path: its own, if it is
// ours, those of a fault that is known, or its type.
func Explain(err error) string {
	var (
		ours    *tiers.Error
		number  syscall.Errno
		timeout interface{ Timeout() bool }
	)
	switch known := slices.IndexFunc(harmless, func(e error) bool { return errors.Is(err, e) }); {
	case errors.Is(err, tiers.ErrRevoked):
		return tiers.ErrRevoked.Error()
	case errors.Is(err, tiers.ErrConflict):
		return tiers.ErrConflict.Error()
	case errors.As(err, &ours):
		return ours.Error()
	case errors.As(err, &number):
		return number.Error()
	case known >= 0:
		return harmless[known].Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	default:
		return ErrorType(err)
	}
}

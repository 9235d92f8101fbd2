package tiers

import (
	"context"
	"errors"
	"reflect"

	"github.com/gf-strata/strata/internal/change"
	"github.com/gf-strata/strata/internal/value"
	"github.com/gf-strata/strata/telemetry"
)

// ErrRevoked answers a commit whose session was loaded, and has been removed or
// has expired since (law 6). Nothing was written. It is matched with errors.Is.
var ErrRevoked = change.ErrRevoked

// ErrConflict answers a change whose first attempt may have been applied, and whose
// session has changed or gone since: what could overwrite something newer, or begin a
// session that was removed, was left out (laws 5 and 6). It is matched with errors.Is.
var ErrConflict = change.ErrConflict

// IsFinal reports whether an error of a commit says what has become of it for good, so
// that no other attempt is made.
func IsFinal(err error) bool { return errors.Is(err, ErrRevoked) || errors.Is(err, ErrConflict) }

// fate is an error of a write that knows whether anything of it was applied.
type fate struct {
	error
	not bool
}

func (f *fate) Unwrap() error    { return f.error }
func (f *fate) NotApplied() bool { return f.not }

// NotApplied marks the error of a write that surely wasn't applied, so that it may be
// repeated as it is.
func NotApplied(err error) error { return &fate{err, true} }

// PartlyApplied marks the error of a write of which something was applied before.
func PartlyApplied(err error) error { return &fate{err, false} }

// MayBeApplied reports whether a write that failed with err may have been applied, or may
// yet be: what repeats it must be conditional. A storage's own error may have a method
// NotApplied that returns true.
func MayBeApplied(err error) bool {
	var known interface{ NotApplied() bool }
	return !errors.As(err, &known) || !known.NotApplied()
}

// Error is an error whose text is free of session ids, keys and values (law 10).
// All errors of this module's own are of this type, or constants.
type Error struct {
	text  string
	cause error
}

// NewError makes an error of a text that holds none of the above. errors.Is and
// errors.As reach the cause, whose own text is not shown; nil is fine.
func NewError(text string, cause error) *Error { return &Error{text: text, cause: cause} }

// Error is the text that the error was made with.
func (e *Error) Error() string { return e.text }

// Unwrap returns the cause; mind what its text may hold.
func (e *Error) Unwrap() error { return e.cause }

// SetupError is what the constructor of a layer panics with where it isn't the program that
// is at fault, but what it finds: layer.New returns the cause.
type SetupError struct{ Cause error }

func (e *SetupError) Error() string { return e.Cause.Error() }
func (e *SetupError) Unwrap() error { return e.Cause }

// ErrUnderWay is what the answer to a caller is that hasn't waited for its write. The
// write goes on, and who has it in hand reports if it fails.
var ErrUnderWay = NewError("strata: the request didn't wait for its write, which goes on", nil)

// UnderWay is ErrUnderWay with the reason, the end of the caller's context.
func UnderWay(reason error) error {
	return NewError(ErrUnderWay.text, errors.Join(ErrUnderWay, reason))
}

// ErrorType is the class of an error, as the attribute error.type has it: a constant, or a Go
// type, of which a program has few. The error's text is not looked at (law 10). It is "" where
// there is no error.
func ErrorType(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrRevoked):
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

// Explain tells an error in words that hold no session id, key or value: its own, where
// it is ours, or its type.
func Explain(err error) string {
	var ours *Error
	switch {
	case errors.Is(err, ErrRevoked):
		return ErrRevoked.Error()
	case errors.Is(err, ErrConflict):
		return ErrConflict.Error()
	case errors.As(err, &ours):
		return ours.text
	default:
		return ErrorType(err)
	}
}

// unkept is the error of a value that can't be kept.
func unkept(err error) error {
	var why *value.Error
	if errors.As(err, &why) {
		return NewError(why.Text, err)
	}
	return err
}

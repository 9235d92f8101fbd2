package tiers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
)

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

// redact replaces the text of an error that somebody else's storage composed, and
// that may quote the session's id or content, by the operation and the kind of
// fault.
func redact(op string, err error) error {
	switch err {
	case nil, gsession.ErrorDisabled, ErrRevoked, ErrConflict, context.Canceled, context.DeadlineExceeded:
		return err
	}
	switch err.(type) {
	case *Error, *fate:
		return err
	}
	return NewError("strata: "+op+" failed in the store: "+faultOf(err), err)
}

// ErrorType is the class of an error, as telemetry names it.
func ErrorType(err error) string {
	if errors.Is(err, ErrRevoked) {
		return telemetry.TypeRevoked
	}
	return telemetry.ErrorType(err)
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

// harmless are the faults whose texts are constants.
var harmless = []error{
	gsession.ErrorDisabled, context.Canceled, context.DeadlineExceeded,
	io.EOF, io.ErrUnexpectedEOF, io.ErrShortWrite,
	ErrRevoked, ErrConflict, fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrClosed,
}

// faultOf names the kind of fault in constant words.
func faultOf(err error) string {
	var ours *Error
	if errors.As(err, &ours) {
		return ours.text
	}
	var number syscall.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	for _, known := range harmless {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "timed out"
	}
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return fmt.Sprintf("%T", err)
		}
		err = next
	}
}

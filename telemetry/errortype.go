package telemetry

import (
	"context"
	"errors"
	"reflect"
)

// The values of error.type that are no Go types.
const (
	TypeCanceled         = "context_canceled"
	TypeDeadlineExceeded = "deadline_exceeded"
	TypeRevoked          = "revoked"
	TypePanic            = "panic"
)

// ErrorType is the class of an error: a constant, or a Go type, of which a program
// has few. Its text is not looked at (law 10). It is "" where there is no error.
func ErrorType(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return TypeCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return TypeDeadlineExceeded
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

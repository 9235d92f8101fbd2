// Package value copies, measures and encodes the values of a session.
package value

import "reflect"

// Error says why a value can't be kept, in a text that holds nothing of the value.
type Error struct {
	Text  string
	Cause error
}

func (e *Error) Error() string { return e.Text }
func (e *Error) Unwrap() error { return e.Cause }

// IsNil also sees a nil pointer in an interface.
func IsNil(v any) bool {
	is := reflect.ValueOf(v)
	return !is.IsValid() || is.Kind() == reflect.Pointer && is.IsNil()
}

// Package value copies, measures and encodes the values of a session.
package value

// Error says why a value can't be kept, in a text that holds nothing of the value.
type Error struct {
	Text  string
	Cause error
}

func (e *Error) Error() string { return e.Text }
func (e *Error) Unwrap() error { return e.Cause }

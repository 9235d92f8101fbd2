package tiers

import (
	"errors"

	"github.com/gf-strata/strata/internal/change"
	"github.com/gf-strata/strata/internal/value"
)

// ErrRevoked is returned for a commit whose session was loaded, and has been removed or
// has expired since (law 6). Nothing was written. It is matched with errors.Is.
var ErrRevoked = change.ErrRevoked

// ErrConflict is returned for a change whose first attempt may have been applied, and whose
// session has changed or gone since: what could overwrite something newer, or begin a
// session that was removed, was left out (laws 5 and 6). It is matched with errors.Is.
var ErrConflict = change.ErrConflict

// ErrClosed is matched by the error of a store whose client was closed for good: nothing is tried
// again.
var ErrClosed = NewError("strata: the store's client is closed; close the chain first", nil)

// notApplied is an error of a write of which nothing was applied.
type notApplied struct{ error }

func (n *notApplied) Unwrap() error    { return n.error }
func (n *notApplied) NotApplied() bool { return true }

// NotApplied marks the error of a write that surely wasn't applied, so that it may be
// repeated as it is.
func NotApplied(err error) error { return &notApplied{err} }

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

// unkept is the error of a value that can't be kept.
func unkept(err error) error {
	var why *value.Error
	if errors.As(err, &why) {
		return NewError(why.Text, err)
	}
	return err
}

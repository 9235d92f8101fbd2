package layer

import (
	"context"
	"errors"

	"github.com/gf-strata/strata/decorators/index"
	"github.com/gf-strata/strata/internal/principals"
)

// Reason is a text that says why a session has ended. A program may have reasons of its own, of 64 bytes at most.
type Reason = principals.Reason

// Reasons.
const (
	ReasonLoggedOut              = index.ReasonLoggedOut // its user has logged out
	ReasonEndedByUser     Reason = "ended_by_user"       // its user has ended it from another device
	ReasonEndedByAdmin    Reason = "ended_by_admin"      // an administrator has ended it
	ReasonDisplaced              = index.ReasonDisplaced // a newer log-in took its place, see [Limit]
	ReasonPasswordChanged Reason = "password_changed"    // the password was changed elsewhere
	ReasonIdle            Reason = "idle"                // it was not used for too long
	ReasonExpired         Reason = "expired"             // it has reached its absolute limit
)

// ReasonOf returns why the session has ended that an error of a write is about, "" if it isn't
// about an ended session, or the reason isn't known. It is for errors for which errors.Is(err, ErrRevoked).
func ReasonOf(err error) Reason {
	var ended *index.Ended
	if errors.As(err, &ended) {
		return ended.Reason
	}
	return ""
}

// WithReason says why a session ends that is removed in the context: by RemoveAll of a chain with
// [Indexed]. Without it, it is ReasonLoggedOut; with "", none is kept, as for a session that goes
// on under another id.
func WithReason(ctx context.Context, reason Reason) context.Context {
	return index.WithReason(ctx, reason)
}

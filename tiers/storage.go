package tiers

import (
	"context"
	"errors"
	"time"

	"github.com/gogf/gf/v2/errors/gcode"
	"github.com/gogf/gf/v2/errors/gerror"
	"github.com/gogf/gf/v2/os/gsession"
)

// ErrRevoked answers a commit whose session was loaded, and has been removed or
// has expired since (law 6). Nothing was written. It is matched with errors.Is.
var ErrRevoked error = gerror.NewWithOption(gerror.Option{
	Text: "strata: the session was removed while this request held it; nothing was written",
	Code: gcode.CodeInvalidOperation,
})

// ErrConflict answers a change whose first attempt may have been applied, and whose
// session has changed or gone since: what could overwrite something newer, or begin a
// session that was removed, was left out (laws 5 and 6). It is matched with errors.Is.
var ErrConflict error = gerror.NewWithOption(gerror.Option{
	Text: "strata: it isn't known whether this change was applied, and the session has changed since; " +
		"what would overwrite something newer was left out",
	Code: gcode.CodeInvalidOperation,
})

var (
	errRevokedBefore  = NewError(ErrRevoked.Error(), ErrRevoked)
	errConflictBefore = NewError(ErrConflict.Error(), ErrConflict)
)

// refusedBefore is the error of a change that was refused before.
func refusedBefore(err error) error {
	if errors.Is(err, ErrRevoked) {
		return errRevokedBefore
	}
	return errConflictBefore
}

// RefusedBefore reports whether an error of SetSession is the one that the same close of the
// same map had been answered with, as GoFrame closes a session twice: nothing else was lost.
func RefusedBefore(err error) bool {
	return errors.Is(err, errRevokedBefore) || errors.Is(err, errConflictBefore)
}

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

// Partly marks the error of a write of which something was applied before.
func Partly(err error) error { return &fate{err, false} }

// MayBeApplied reports whether a write that failed with err may have been applied, or may
// yet be: what repeats it must be conditional. A storage's own error may have a method
// NotApplied that returns true.
func MayBeApplied(err error) bool {
	var known interface{ NotApplied() bool }
	return !errors.As(err, &known) || !known.NotApplied()
}

// Storage is the capability of a layer whose sessions flow as snapshots and
// deltas. It stands beside gsession.Storage; whoever lacks it is adapted by [Of].
//
// Implementations are safe for concurrent use.
type Storage interface {
	gsession.Storage

	// Load answers the state of the session, or a Read without Snapshot where
	// there is none. ttl is the session's full time to live, as GetSession gets it.
	Load(ctx context.Context, id string, ttl time.Duration) (Read, error)

	// Commit applies the delta to what the store holds and sets the session's time
	// to live; see [Delta.Apply] for what it does to a session that changed or went
	// away meanwhile. An empty delta only slides the expiry. The snapshot is what a
	// Load would answer now; it is nil where the store can't tell. An error of which
	// MayBeApplied says no has left everything as it was.
	Commit(ctx context.Context, id string, delta *Delta, ttl time.Duration) (*Snapshot, error)

	// Slide is UpdateTTL that says what it achieved: the moment until which the
	// store now holds the session at least, zero where it can't tell or holds none.
	Slide(ctx context.Context, id string, ttl time.Duration) (until time.Time, err error)

	// Style says how the store wants to be used. It is settled at the first call that
	// the store answers, as it may be asked; the answer never changes to another
	// settled one, but for Direct, which may become Opaque.
	Style(ctx context.Context) Style
}

// Read is the answer to a Load.
type Read struct {
	Snapshot *Snapshot // nil: no such session
	Outcome  Outcome   // how the layers answered, for telemetry
}

// Outcome says which way a Load was answered.
type Outcome uint8

const (
	OutcomeStore    Outcome = iota // read from the store
	OutcomeHit                     // served from memory
	OutcomeMiss                    // not in memory, read from the store
	OutcomeNegative                // memory knows that there is none
	OutcomePending                 // with changes that aren't in the store yet
	OutcomeStale                   // served from memory because the store doesn't answer
)

// String is the outcome as telemetry names it.
func (o Outcome) String() string {
	switch o {
	case OutcomeHit:
		return "hit"
	case OutcomeMiss:
		return "miss"
	case OutcomeNegative:
		return "negative"
	case OutcomePending:
		return "pending"
	case OutcomeStale:
		return "stale"
	default:
		return "ok"
	}
}

// Style is the way in which a store keeps sessions, which a chain over it shares.
type Style uint8

const (
	// Snapshot stores answer per-key calls with gsession.ErrorDisabled and move
	// whole maps (GoFrame's Redis, File and Memory, and redisstore).
	StyleSnapshot Style = iota + 1
	// Direct stores answer per-key calls, and their maps stay empty (GoFrame's
	// RedisHashTable).
	StyleDirect
	// Opaque stores mix the two, so that nothing of theirs can be cached or
	// merged; every call is passed through.
	StyleOpaque
)

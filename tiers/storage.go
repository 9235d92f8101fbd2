package tiers

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
)

// Storage is the capability of a layer whose sessions flow as snapshots and
// deltas. It stands beside gsession.Storage; a chain adapts a storage that lacks it.
//
// Implementations are safe for concurrent use.
type Storage interface {
	gsession.Storage

	// Load returns the state of the session, or a Read without Snapshot if
	// there is none. ttl is the session's full time to live, as GetSession gets it.
	Load(ctx context.Context, id string, ttl time.Duration) (Read, error)

	// Commit applies the delta to what the store holds and sets the session's time
	// to live; see [Delta.Apply] for what it does to a session that changed or went
	// away meanwhile. An empty delta only slides the expiry. The snapshot is what a
	// Load would return now; it is nil if that isn't known. An error for which
	// MayBeApplied is false has left everything as it was.
	Commit(ctx context.Context, id string, delta *Delta, ttl time.Duration) (*Snapshot, error)

	// Slide is UpdateTTL that returns what it achieved: the moment until which the
	// store now holds the session at least, zero if that isn't known or it holds none.
	Slide(ctx context.Context, id string, ttl time.Duration) (until time.Time, err error)

	// Style says how the store wants to be used. It may have to ask the store, and is settled
	// once that replies; it doesn't change then, but that StyleDirect may become StyleOpaque.
	Style(ctx context.Context) Style
}

// Read is the result of a Load.
type Read struct {
	Snapshot *Snapshot // nil: no such session
	Outcome  Outcome   // where it comes from, for telemetry
}

// Outcome says which way a Load was served.
type Outcome = telemetry.Outcome

// The outcomes of a Load.
const (
	OutcomeStore    = telemetry.OK       // read from the store
	OutcomeHit      = telemetry.Hit      // served from memory
	OutcomeMiss     = telemetry.Miss     // not in memory, read from the store
	OutcomeNegative = telemetry.Negative // memory knows that there is none
	OutcomePending  = telemetry.Pending  // with changes that aren't in the store yet
	OutcomeStale    = telemetry.Stale    // served from memory because the store fails
)

// Style is the way in which a store keeps sessions, which a chain over it shares.
type Style uint8

const (
	// StyleSnapshot stores return gsession.ErrorDisabled from per-key calls and move
	// whole maps (GoFrame's Redis, File and Memory, and redisstore).
	StyleSnapshot Style = iota + 1
	// StyleDirect stores have per-key calls, and their maps stay empty (GoFrame's
	// RedisHashTable).
	StyleDirect
	// StyleOpaque stores mix the two, so that nothing of theirs can be cached or
	// merged; every call is passed through.
	StyleOpaque
)

// StyleOf is the style of a storage as its store shows it by replying, or the error of a store that doesn't: until it
// has replied, Style takes it for one of single keys.
func StyleOf(ctx context.Context, s Storage) (Style, error) {
	if style := s.Style(ctx); style != StyleDirect {
		return style, nil
	}
	if _, err := s.Data(ctx, "strata-style"); err != nil && !errors.Is(err, gsession.ErrorDisabled) {
		return 0, err
	}
	return s.Style(ctx), nil
}

// MaxID is the longest id that a session can have, in bytes, so that a number of remembered
// sessions is a bound of memory as well.
const MaxID = 512

var (
	errNoID   = NewError("strata: a session operation needs an id; take one from Storage.New or gsession.NewSessionId", nil)
	errOurID  = NewError("strata: no session id begins with "+Namespace+"; take one from Storage.New or gsession.NewSessionId", nil)
	errLongID = NewError("strata: a session id has 512 bytes at most; take one from gsession.NewSessionId", nil)
)

// Namespace begins the ids that no session can have: a store keeps what it knows of sessions
// under such names.
const Namespace = "strata:"

// CheckID returns why no session can have the id, in no store. A chain checks each call, so
// that its layers needn't; a layer that is used without a chain checks what it hands out and
// takes back.
func CheckID(id string) error {
	switch {
	case id == "":
		return errNoID
	case len(id) > MaxID:
		return errLongID
	case strings.HasPrefix(id, Namespace):
		return errOurID
	}
	return nil
}

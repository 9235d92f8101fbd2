// Package principals is what the index of principals (layer.Principals) asks of a store that keeps
// it beside the sessions: [Index].
package principals

import (
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// Reason says why a session has ended.
type Reason string

// These bound what the end of a session waits for its index, and a call of layer.Users, a log-in and a read of marks whose context has no
// deadline. Only tests that run on busy machines change them, before anything else runs.
var (
	FindTimeout = 250 * time.Millisecond // whose it is, and why it has ended
	EndTimeout  = 3 * time.Second        // until its entry is removed
	CallTimeout = 5 * time.Second        // of Bounded
)

// Bounded is a context with a deadline: the contexts of requests have none, and a store may hang.
func Bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, CallTimeout)
}

// Key stands for a principal wherever its name mustn't be read, in the names of
// keys for one (law 10).
type Key [16]byte

// KeyOf is a hash, the same on every node.
func KeyOf(principal string) (key Key) {
	sum := sha256.Sum256([]byte(principal))
	copy(key[:], sum[:])
	return key
}

// MaxPrincipal is how many bytes a principal has at most: it is written into its sessions and into the index.
const MaxPrincipal = 1024

var (
	errNone = tiers.NewError("strata: a principal is needed, and this one is empty; pass a user's id", nil)
	errText = tiers.NewError("strata: a principal has to be valid UTF-8, as stores keep no other texts, and two users would be one; convert it, or pass a user's number", nil)
	errLong = tiers.NewError("strata: a principal has 1,024 bytes at most; pass a user's id, or a hash of what is longer", nil)
)

// Check returns why there is no such principal. A log-in and all that is asked about a principal are checked by it.
func Check(principal string) error {
	switch {
	case principal == "":
		return errNone
	case len(principal) > MaxPrincipal:
		return errLong
	case !utf8.ValidString(principal):
		return errText
	}
	return nil
}

// Entry is a session of a principal in an index.
type Entry struct {
	Principal string // may be "" in what an Index returns
	Key       Key
	ID        string
	Tag       string // 11 characters that stay with the session if its id changes
	Class     string // its device class; no white space
	Begun     time.Time
	TTL       time.Duration // for Enter and Touch: from now
	Expires   time.Time     // in what an Index returns

	// Age is, in what an Index returns, for how long the session hasn't been entered or touched. Both moments are by the
	// clock of the index, as those of nodes differ.
	Age time.Duration
}

// Compare puts those first that end first if they aren't used. Entries of one session under two ids may be equal.
func (e Entry) Compare(other Entry) int {
	return cmp.Or(e.Expires.Compare(other.Expires), cmp.Compare(e.TTL, other.TTL), e.Begun.Compare(other.Begun), cmp.Compare(e.Tag, other.Tag))
}

// Entered is the result of entering a session that begins.
type Entered struct {
	Own    string  // the nonce of the principal's mark, "" if there is none
	All    string  // and of everybody's
	Others []Entry // the principal's other sessions, those that end first, if they were asked for
	More   int     // how many more there are
}

// Mark ends the sessions of a principal, or of everybody, that began before it: a session
// holds the nonce that it was given when it began, and is over if there is a mark with another
// one. Nonces are random, and have no order.
type Mark struct {
	Nonce  string
	Reason Reason
	Kept   []Kept // what it spares
}

// Kept is a session that a mark spares. Own is the nonce that the session has to hold, "" for any: one that was over
// when the mark was set holds another.
type Kept struct{ Tag, Own string }

// After is the mark with what it keeps, as it takes the place of another one, "" for none. A session that this one keeps
// as well began before it, and has to hold what it has to hold there; any other one began after it, or is over.
func (m Mark) After(before Mark) Mark {
	m.Kept = slices.Clone(m.Kept)
	for n := range m.Kept {
		k := &m.Kept[n]
		k.Own = before.Nonce
		if at := slices.IndexFunc(before.Kept, func(other Kept) bool { return other.Tag == k.Tag }); at >= 0 {
			k.Own = before.Kept[at].Own
		}
	}
	return m
}

// Ends reports whether a session with a tag is over that holds a nonce, "" for none.
func (m Mark) Ends(tag, own string) bool {
	return m.Nonce != "" && m.Nonce != own && !slices.ContainsFunc(m.Kept, func(k Kept) bool {
		return k.Tag == tag && (k.Own == "" || k.Own == own)
	})
}

// Marks are those of one shard.
type Marks struct {
	All   Mark
	Own   map[Key]Mark
	Ended map[string]Reason // tags of sessions that were ended while they began
}

// Indexed is a principal in an index, and how many sessions it has.
type Indexed struct {
	Principal string
	Sessions  int
}

// Index is the capability of a store to keep, beside the sessions, an index of whose they
// are. An index may lack entries and hold some of sessions that are gone: a reader looks at the
// sessions. Marks may not be lost.
//
// Implementations are safe for concurrent use.
type Index interface {
	// Enter adds a session that begins, before it is committed, and returns the nonces that it
	// is to hold, and so many of the sessions that were entered before it. It does so in one step: of two
	// that are entered at once, one is returned to the other.
	Enter(ctx context.Context, entry Entry, others int) (Entered, error)

	// Touch notes that the sessions are in use. It adds entries that were lost.
	Touch(ctx context.Context, entries []Entry) error

	// Leave removes entries of sessions that have ended.
	Leave(ctx context.Context, entries []Entry) error

	// Entries returns so many of a principal's sessions that come after the given one in the order of
	// Compare; the zero Entry comes before all. One that is used meanwhile moves on, and isn't left out.
	Entries(ctx context.Context, key Key, after Entry, most int) ([]Entry, error)

	// Page returns principals, and where to go on; the first cursor and the last are "". One
	// that is used while pages are turned may be on two of them.
	Page(ctx context.Context, cursor string, size int) (page []Indexed, next string, err error)

	// Count is the number of principals that have sessions.
	Count(ctx context.Context) (int, error)

	// Mark sets a principal's mark, which lasts so long at least, and longer than the sessions that the index
	// knows, and returns it as it is After the one before it. It is in force once Mark returns, and comes into force once at most:
	// where it was replaced since, it would bring back the sessions that hold its nonce.
	Mark(ctx context.Context, key Key, mark Mark, lasts time.Duration) (Mark, error)

	// MarkAll sets everybody's mark, which lasts and comes into force like one principal's, and keeps nothing.
	MarkAll(ctx context.Context, mark Mark, lasts time.Duration) error

	// MarkEnded notes that a session has ended which may not have been committed yet.
	MarkEnded(ctx context.Context, entry Entry, reason Reason, lasts time.Duration) error

	// Marks reads shards, 0 to Shards-1.
	Marks(ctx context.Context, shards []int) ([]Marks, error)
	Shards() int
	ShardOf(key Key) int

	// Node names the node that has a shard, as far as is known without asking one.
	Node(shard int) string

	// ShardOfInvalidated returns the shard whose marks have changed if an InvalidationSource below
	// invalidates id.
	ShardOfInvalidated(id string) (shard int, ok bool)

	// Because notes why sessions are about to end, for so long; ReasonOf returns it, "" for
	// none.
	Because(ctx context.Context, ids []string, reason Reason, lasts time.Duration) error
	ReasonOf(ctx context.Context, id string) (Reason, error)
}

// Remover is an Index that removes many sessions in few round trips.
type Remover interface {
	RemoveSessions(ctx context.Context, sessions []Entry) error
}

// ErrCursor is Page's for a cursor that it hasn't returned.
var ErrCursor = tiers.NewError("strata: this is no cursor of a page of principals; begin with an empty one", nil)

// IndexOf returns the index of a storage, nil if it keeps none. One that does has a method
// Indexer.
func IndexOf(s gsession.Storage) Index {
	if keeps, ok := s.(interface{ Indexer() Index }); ok {
		return keeps.Indexer()
	}
	return nil
}

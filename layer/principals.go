package layer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/index"
	"github.com/gf-strata/strata/decorators/trace"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/tiers"
)

// Errors of [Users].
var (
	ErrHandle error = index.ErrHandle // this is no handle; take one from List
	ErrCursor error = index.ErrCursor // this is no cursor of All or List
)

// SessionInfo is one session of a principal.
type SessionInfo struct {
	Handle    string            // stands for the session, and isn't its id; it stays when the id changes
	Begun     time.Time         // when its principal logged in, by that node's clock
	Seen      time.Time         // the last request, to the minute
	Described map[string]string // as [WithDescription] was given it
}

// PrincipalInfo is a principal that has sessions.
type PrincipalInfo struct {
	Principal string
	Sessions  int // how many it has
}

// Users lists, ends and changes the sessions of a chain by principal. Methods are safe for concurrent
// use.
//
// A method that ends sessions is effective on this node when it returns, and on another node when the
// store's invalidation has arrived there, as a write is (law 4). A request that is running is refused at
// its commit with ErrRevoked (law 6), and [ReasonOf] says why.
//
// If the context has no deadline, a method waits for the store for 5 s, and Update for 5 s for each page of sessions.
//
// A method that is given an empty principal, one of more than 1,024 bytes, or one that isn't UTF-8 returns an error.
type Users struct { // all fields are set at construction
	given *Stack // as Principals got it
	chain *Stack // which has the index: given, or a chain that is its store
	index index.Principals
	layer *index.Storage // that index belongs to
}

// Principals returns the Users of a chain. It panics if the chain has no [Indexed].
func Principals(chain *Stack) *Users {
	if chain == nil {
		panic("strata: layer.Principals needs a chain; pass what layer.Chain returns")
	}
	for at, ok := chain, true; ok; {
		layers := at.parts().layers
		if in := indexOf(layers); in != nil {
			return &Users{given: chain, chain: at, index: in.Principals(), layer: in}
		}
		at, ok = layers[len(layers)-1].(*Stack)
	}
	panic("strata: layer.Principals needs a chain that knows whose its sessions are; add layer.Indexed(principal) to layer.Chain")
}

// indexOf is the index that does the work in a chain of its own, nil for none.
func indexOf(layers []gsession.Storage) *index.Storage {
	for _, l := range layers {
		if in, ok := l.(*index.Storage); ok {
			return in
		}
	}
	return nil
}

// cachesAbove reports whether a layer above the index may hold sessions.
func (u *Users) cachesAbove() bool {
	if u.given != u.chain {
		return true
	}
	for _, l := range u.chain.parts().layers {
		switch l := l.(type) {
		case *index.Storage:
			if l == u.layer {
				return false
			}
		case *trace.Storage:
		default:
			return true
		}
	}
	return false
}

// bounded is the context of a call, with a deadline.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return principals.Bounded(given(ctx))
}

// List returns sessions of the principal, 100 at a time, and the cursor of the next page, which is "" after the
// last one. The first cursor is "". Those that end first, if they aren't used, are on the first pages; on a page the
// oldest come first. A page has fewer where sessions are gone, and one that is used meanwhile may be on two.
func (u *Users) List(ctx context.Context, principal, cursor string) (page []SessionInfo, next string, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	sessions, next, err := u.index.List(ctx, principal, cursor, pageSize)
	if err != nil {
		return nil, "", err
	}
	for _, s := range sessions {
		if last := len(page) - 1; last >= 0 && page[last].Handle == s.Handle { // one session under two ids, while that changes
			if page[last].Seen.Before(s.Seen) {
				page[last].Seen = s.Seen
			}
			continue
		}
		page = append(page, SessionInfo{Handle: s.Handle, Begun: s.Begun, Seen: s.Seen, Described: s.Described})
	}
	return page, next, nil
}

// Handle returns the handle of the session with the id, to find the caller's own in a List; "" if
// it has no principal.
func (u *Users) Handle(ctx context.Context, id string) (string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return u.index.Handle(ctx, id)
}

// Count is the number of principals that have sessions.
func (u *Users) Count(ctx context.Context) (int, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return u.index.Count(ctx)
}

// pageSize is how many principals All returns at once, and how many sessions List.
const pageSize = 100

// All returns principals that have sessions, 100 at a time, in no order, and the cursor of the next
// page, which is "" after the last one. One that logs in or is active meanwhile may be on two pages.
func (u *Users) All(ctx context.Context, cursor string) (page []PrincipalInfo, next string, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	found, next, err := u.index.Page(ctx, cursor, pageSize)
	for _, f := range found {
		page = append(page, PrincipalInfo{Principal: f.Principal, Sessions: f.Sessions})
	}
	return page, next, err
}

const mostReason = 64

func checkReason(reason Reason) error {
	if len(reason) > mostReason {
		return errLongReason
	}
	return nil
}

var errLongReason = tiers.NewError("strata: a reason has 64 bytes at most; take one of the constants, or a short word", nil)

// Revoke ends the session that the handle stands for, wherever it is: by a mark, as RevokeAll does. Each handle that it is
// given is remembered for the time of [LongestSession]: pass one of a List, and let users end only those of their own.
func (u *Users) Revoke(ctx context.Context, handle string, reason Reason) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	ids, err := u.index.Revoke(ctx, handle, reason)
	return errors.Join(err, u.removed(ctx, ids...))
}

// removed has the layers above the index forget sessions that it has ended.
func (u *Users) removed(ctx context.Context, ids ...string) error {
	above := u.cachesAbove()
	var errs []error
	for _, id := range ids {
		if above {
			errs = append(errs, u.given.RemoveAll(WithReason(ctx, ""), id))
		}
		u.given.parts().maps.Removed(id)
		u.chain.parts().maps.Removed(id)
	}
	return errors.Join(errs...)
}

// RevokeAll ends all sessions of the principal, except those of the handles in keep. It misses none: a mark ends all
// sessions that began before, also those that the index doesn't know, and one that was ended before isn't kept. A log-in that comes while it runs is ended or
// comes after it. An error says that this may not have happened; call it again.
//
// It also removes the sessions that the index knew, and returns how many. If there are more than it can remove by its
// deadline, or the store fails meanwhile, the others are over all the same: each is removed when a request asks for it,
// or by its time to live.
func (u *Users) RevokeAll(ctx context.Context, principal string, reason Reason, keep ...string) (ended int, err error) {
	if err := checkReason(reason); err != nil {
		return 0, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	ids, err := u.index.RevokeAll(ctx, principal, reason, keep)
	return len(ids), errors.Join(err, u.removed(ctx, ids...))
}

// RevokeEverybody ends the sessions of all principals. Each is removed from the store when a
// request asks for it, or by its time to live. An error says that it may have happened to some principals only; call it
// again.
func (u *Users) RevokeEverybody(ctx context.Context, reason Reason) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	return u.index.RevokeEverybody(ctx, reason)
}

// Reason returns why the session with the id has ended. It returns "" if the session hasn't ended, if it
// has expired, or after the time of [KeepReasons].
func (u *Users) Reason(ctx context.Context, id string) (Reason, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return u.index.ReasonOf(ctx, id)
}

// Watch calls f after sessions may have ended without an invalidation of each: by Revoke,
// RevokeAll and RevokeEverybody, on any node, and by some limits. f must return quickly, and call nothing of Users.
func (u *Users) Watch(f func()) (stop func()) { return u.index.Notice(f) }

// Changes collects the changes that Update makes to one session.
type Changes struct {
	data    map[string]any
	touched map[string]bool
}

// Get returns a value as the session holds it, nil if there is none.
func (c *Changes) Get(key string) any {
	c.touched[key] = true
	return c.data[key]
}

// Set sets a value.
func (c *Changes) Set(key string, value any) {
	c.touched[key] = true
	c.data[key] = value
}

// Remove removes a key.
func (c *Changes) Remove(key string) {
	c.touched[key] = true
	delete(c.data, key)
}

// UpdateError is the error of one session of an Update.
type UpdateError struct {
	Handle string // of the session, as in a List
	Err    error
}

// Error says no more of the session than the kind of fault (law 10).
func (e *UpdateError) Error() string {
	return "strata: a session of the principal was not changed: " + failure.Explain(e.Err)
}

// Unwrap returns the cause.
func (e *UpdateError) Unwrap() error { return e.Err }

// Update changes all sessions of the principal, for new roles for example, and returns how many. Each
// change is atomic: if another request has meanwhile written a key that f has read or set, f is called
// again with the session's new state, so it must have no other effect. Update begins no session and
// prolongs none; a session that has ended is left out. For each session that can't be changed, or for
// which f returns an error, the error has an [*UpdateError].
func (u *Users) Update(ctx context.Context, principal string, f func(s *Changes) error) (changed int, err error) {
	if f == nil {
		panic("strata: Users.Update needs a func that changes a session")
	}
	ctx = index.WithLook(given(ctx))
	var (
		errs []error
		done = map[string]bool{} // by id, as a session that is used meanwhile may be listed twice
	)
	for next, more := "", true; more; more = next != "" {
		var sessions []index.Session
		listing, cancel := bounded(ctx)
		sessions, next, err = u.index.List(listing, principal, next, pageSize)
		if cancel(); err != nil {
			return changed, errors.Join(append(errs, err)...)
		}
		for _, s := range sessions {
			if done[s.Entry.ID] {
				continue
			}
			did, err := u.update(ctx, s, f)
			if did {
				changed++
				done[s.Entry.ID] = true
			}
			if err != nil {
				errs = append(errs, &UpdateError{Handle: s.Handle, Err: err})
			}
		}
	}
	return changed, errors.Join(errs...)
}

// mostTries is how often a session is changed anew that others change as well.
const mostTries = 100

func (u *Users) update(ctx context.Context, s index.Session, f func(*Changes) error) (changed bool, err error) {
	for range mostTries {
		changed, err = u.attempt(ctx, s, f)
		switch {
		case errors.Is(err, ErrRevoked):
			return false, nil
		case !errors.Is(err, ErrConflict):
			return changed, err
		}
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
	}
	return false, err
}

func (u *Users) attempt(ctx context.Context, s index.Session, f func(*Changes) error) (changed bool, err error) {
	top := u.chain.parts().top
	read, err := top.Load(ctx, s.Entry.ID, s.Entry.TTL)
	if err != nil {
		return false, err
	}
	base := read.Snapshot
	if !s.Is(base) {
		return false, nil
	}
	c := &Changes{data: base.Map(), touched: map[string]bool{}}
	kept := c.data[index.Key]
	delete(c.data, index.Key)
	if err := call(f, c); err != nil {
		return false, err
	}
	if c.data[index.Key] = kept; kept == nil {
		delete(c.data, index.Key)
	}
	delta, err := tiers.Diff(base, c.data)
	if err != nil || delta.Empty() {
		return false, err
	}
	ttl := s.Entry.TTL
	if until, known := base.Expires(); known && !until.IsZero() {
		ttl = time.Until(until)
	}
	if ttl <= 0 {
		return false, nil
	}
	for _, l := range u.chain.parts().layers {
		if longer, ok := l.(interface {
			TTLFor(time.Duration) time.Duration
		}); ok {
			ttl = longer.TTLFor(ttl)
		}
	}
	_, err = top.Commit(ctx, s.Entry.ID, delta.IfUnchanged(c.touched), ttl)
	return err == nil, err
}

// call has a panic of the program's own end one session's change alone.
func call(f func(*Changes) error, c *Changes) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = tiers.NewError(fmt.Sprintf("strata: the func given to Users.Update panicked (%T)", p), nil)
		}
	}()
	return f(c)
}

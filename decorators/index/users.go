package index

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/tiers"
)

// Principals are the sessions of an index by whose they are. Its field is set at construction.
type Principals struct{ of *Storage }

// Session is a session of a principal, as it is listed.
type Session struct {
	Entry     principals.Entry // with its principal
	Handle    string
	Begun     time.Time
	Seen      time.Time
	Described map[string]string
}

// A handle is the hash of the principal and the session's tag, in base64: it finds the index that
// has the session, and doesn't show the session's id.
const handleLength = 16 + 8

// handleOf returns the handle of an entry.
func handleOf(e principals.Entry) string {
	b := make([]byte, 0, handleLength)
	b = append(b, e.Key[:]...)
	b, _ = encoding.AppendDecode(b, []byte(e.Tag))
	return encoding.EncodeToString(b)
}

func readHandle(handle string) (key principals.Key, tag string, ok bool) {
	var b [handleLength]byte
	if len(handle) != encoding.EncodedLen(handleLength) {
		return key, "", false
	}
	if n, err := encoding.Strict().Decode(b[:], []byte(handle)); err != nil || n != handleLength {
		return key, "", false
	}
	copy(key[:], b[:])
	return key, encoding.EncodeToString(b[len(key):]), true
}

// check returns an error for what is no principal, and over a direct store, whose sessions the index neither knows nor ends.
func (s Principals) check(ctx context.Context, principal string) error {
	if err := principals.Check(principal); err != nil {
		return err
	}
	return s.of.checkWhole(ctx)
}

// List returns some of a principal's sessions and where to go on; the first cursor and the last are "". Those that
// end first, if they aren't used, are on the first pages; on a page the oldest come first. It looks at each session,
// and removes entries of those that are gone, over or another's.
func (s Principals) List(ctx context.Context, principal, cursor string, size int) (list []Session, next string, err error) {
	if err := s.check(ctx, principal); err != nil {
		return nil, "", err
	}
	after, ok := readCursor(cursor)
	if !ok {
		return nil, "", ErrCursor
	}
	of := principals.Entry{Principal: principal, Key: principals.KeyOf(principal)}
	entries, more, err := s.page(ctx, of, after, size)
	if err != nil {
		return nil, "", err
	}
	if more {
		next = cursorOf(entries[len(entries)-1])
	}
	slices.SortFunc(entries, oldestFirst)
	live, dead, err := s.sift(ctx, of.Key, entries)
	s.of.leave(ctx, dead)
	for _, l := range live {
		list = append(list, Session{Entry: l.entry, Handle: handleOf(l.entry), Begun: l.entry.Begun, Seen: l.entry.Expires.Add(-l.entry.TTL), Described: l.record.description()})
	}
	return list, next, err
}

func oldestFirst(a, b principals.Entry) int {
	return cmp.Or(a.Begun.Compare(b.Begun), cmp.Compare(a.Tag, b.Tag))
}

// sift separates the sessions of a principal that live from the entries of those that are gone, or over by a mark.
func (s Principals) sift(ctx context.Context, key principals.Key, entries []principals.Entry) (live []located, dead []principals.Entry, err error) {
	f, err := s.find(ctx, entries)
	if err != nil {
		return nil, nil, err
	}
	state, err := s.of.marks.of(ctx, key)
	if err == nil && slices.ContainsFunc(f.there, func(l located) bool { return state.ends(l.record) }) { // see judge
		state, err = s.of.marks.after(ctx, key)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, l := range f.there {
		if state.ends(l.record) {
			f.gone = append(f.gone, l.entry)
		} else {
			live = append(live, l)
		}
	}
	return live, f.gone, nil
}

// page reads some entries of the principal of an entry, and whether there are more. Two that are equal aren't parted, as the next
// page begins after both.
func (s Principals) page(ctx context.Context, of, after principals.Entry, size int) (entries []principals.Entry, more bool, err error) {
	entries, err = s.of.indexer.Entries(ctx, of.Key, after, size+1)
	for n := range entries {
		entries[n].Principal = of.Principal
	}
	if more = len(entries) > size; more && entries[size].Compare(entries[size-1]) != 0 {
		entries = entries[:size]
	}
	return entries, more, err
}

// A cursor is where an entry stands in the order of entries: numbers in base 36, and its tag.
const cursorParts = 4

func cursorOf(e principals.Entry) string {
	b := strconv.AppendInt(nil, e.Expires.UnixNano(), 36)
	b = strconv.AppendInt(append(b, '.'), int64(e.TTL), 36)
	b = strconv.AppendInt(append(b, '.'), e.Begun.UnixMilli(), 36)
	return string(append(append(b, '.'), e.Tag...))
}

func readCursor(cursor string) (e principals.Entry, ok bool) {
	if cursor == "" {
		return e, true
	}
	parts := strings.Split(cursor, ".")
	if len(parts) != cursorParts || len(parts[cursorParts-1]) != tagLength {
		return e, false
	}
	var numbers [cursorParts - 1]int64
	for n := range numbers {
		var err error
		if numbers[n], err = strconv.ParseInt(parts[n], 36, 64); err != nil || numbers[n] < 0 {
			return e, false
		}
	}
	return principals.Entry{
		Expires: time.Unix(0, numbers[0]), TTL: time.Duration(numbers[1]), Begun: time.UnixMilli(numbers[2]), Tag: parts[cursorParts-1],
	}, true
}

// loadAll reads sessions, together where the storage below can, else some at the same time.
func (s Principals) loadAll(ctx context.Context, entries []principals.Entry) []tiers.Reloaded {
	results := make([]tiers.Reloaded, len(entries))
	if tiers.ReloaderOf(s.of.Storage) == nil {
		for n, err := range atOnce(len(entries), func(n int) (err error) {
			results[n].Read, err = s.of.Storage.Load(ctx, entries[n].ID, entries[n].TTL)
			return err
		}) {
			results[n].Err = err
		}
		return results
	}
	loads := make([]tiers.Reload, len(entries))
	for n, e := range entries {
		loads[n] = tiers.Reload{ID: e.ID, TTL: e.TTL}
	}
	return s.of.Base.LoadAll(ctx, loads)
}

// atOnce makes calls, several at the same time. A panic is that call's error.
func atOnce(calls int, call func(n int) error) []error {
	var (
		errs  = make([]error, calls)
		slots = make(chan struct{}, mostCalls)
		all   sync.WaitGroup
	)
	for n := range errs {
		slots <- struct{}{}
		all.Go(func() {
			defer func() {
				if recover() != nil {
					errs[n] = errPanicked
				}
				<-slots
			}()
			errs[n] = call(n)
		})
	}
	all.Wait()
	return errs
}

const mostCalls = 16

var errPanicked = tiers.NewError("strata: a storage below layer.Indexed, or the func that it was given, panicked", nil)

// located is an entry whose session is there, with its record.
type located struct {
	entry  principals.Entry
	record record
}

// found are entries of an index, by what is under their ids.
type found struct {
	there   []located
	pending []principals.Entry // nothing, or another session, which it may be about to follow, as a user's follows a visitor's
	gone    []principals.Entry
}

// find looks at sessions. One that began a moment ago may be pending at another node, which writes behind, and so be in the
// index and not yet in the store.
func (s Principals) find(ctx context.Context, entries []principals.Entry) (f found, err error) {
	for n, read := range s.loadAll(ctx, entries) {
		e, session := entries[n], read.Read.Snapshot
		switch {
		case read.Err != nil:
			return found{}, read.Err
		case s.of.owners.holds(session, e):
			var r record
			e.Principal, r, _ = s.of.owners.recorded(session.Data())
			f.there = append(f.there, located{e, r})
		case e.Age < time.Minute:
			f.pending = append(f.pending, e)
		default:
			f.gone = append(f.gone, e)
		}
	}
	return f, nil
}

// endAll ends sessions of the index, and returns the ids of those that were there. A session that is under
// another one's id ends nothing there. One that isn't there yet is ended by a mark.
func (s Principals) endAll(ctx context.Context, entries []principals.Entry, reason principals.Reason) (ids []string, err error) {
	for chunk := range slices.Chunk(entries, mostTogether) {
		f, err := s.find(ctx, chunk)
		if err != nil {
			return ids, err
		}
		if err := s.markEnded(ctx, f.pending, reason); err != nil {
			return ids, err
		}
		some, err := s.end(ctx, f.there, reason, s.removeEach)
		if ids = append(ids, some...); err != nil {
			return ids, err
		}
		s.of.leave(ctx, slices.Concat(entriesOf(f.there), f.pending, f.gone))
	}
	return ids, nil
}

// end removes sessions, and returns their ids.
func (s Principals) end(ctx context.Context, there []located, reason principals.Reason, remove func(context.Context, []principals.Entry) error) (ids []string, err error) {
	if len(there) == 0 {
		return nil, nil
	}
	entries := entriesOf(there)
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	soon, cancel := principals.Bounded(ctx)
	err = s.of.indexer.Because(soon, ids, reason, s.of.options.KeepReasons)
	cancel()
	if err != nil {
		return nil, err
	}
	err = remove(ctx, entries)
	s.of.marks.ended(ids) // some of them, if it failed
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		s.of.maps.Removed(id)
		s.of.begun.forget(id)
	}
	return ids, nil
}

func entriesOf(there []located) (entries []principals.Entry) {
	for _, l := range there {
		entries = append(entries, l.entry)
	}
	return entries
}

func (s Principals) removeEach(ctx context.Context, sessions []principals.Entry) error {
	return errors.Join(atOnce(len(sessions), func(n int) error { return s.of.Storage.RemoveAll(ctx, sessions[n].ID) })...)
}

// markEnded sets a mark for each of the sessions.
func (s Principals) markEnded(ctx context.Context, entries []principals.Entry, reason principals.Reason) error {
	for _, e := range entries {
		soon, cancel := principals.Bounded(ctx)
		err := s.of.indexer.MarkEnded(soon, e, reason, s.of.options.LongestSession)
		cancel()
		s.of.marks.invalidate(s.of.indexer.ShardOf(e.Key))
		if err != nil {
			return err
		}
	}
	return nil
}

// Handle returns the handle of a session, "" if it has no principal, or isn't there.
func (s Principals) Handle(ctx context.Context, id string) (string, error) {
	if tiers.CheckID(id) != nil {
		return "", nil
	}
	entry, err := s.of.look(ctx, id)
	if err != nil || entry.Tag == "" {
		return "", err
	}
	return handleOf(entry), nil
}

// Revoke ends the session that a handle stands for, and returns its id, or none. It has two while
// its id changes, and after a change that was to keep the old one.
func (s Principals) Revoke(ctx context.Context, handle string, reason principals.Reason) (ids []string, err error) {
	key, tag, ok := readHandle(handle)
	if !ok {
		return nil, ErrHandle
	}
	if err := s.of.checkWhole(ctx); err != nil {
		return nil, err
	}
	if err := s.markEnded(ctx, []principals.Entry{{Key: key, Tag: tag}}, reason); err != nil {
		return nil, err
	}
	return s.removeMarked(ctx, principals.Entry{Key: key, Tag: tag}, principals.Marks{Ended: map[string]principals.Reason{tag: reason}}, reason)
}

// RevokeAll ends a principal's sessions, but those of the handles kept, and returns the ids of those that the index
// had and that it has removed. All others are over as well, and are removed when they are met.
func (s Principals) RevokeAll(ctx context.Context, principal string, reason principals.Reason, kept []string) (ids []string, err error) {
	if err := s.check(ctx, principal); err != nil {
		return nil, err
	}
	of := principals.Entry{Principal: principal, Key: principals.KeyOf(principal)}
	mark := principals.Mark{Reason: reason}
	for _, handle := range kept {
		key, tag, ok := readHandle(handle)
		if !ok {
			return nil, ErrHandle
		}
		if key == of.Key {
			mark.Kept = append(mark.Kept, principals.Kept{Tag: tag})
		}
	}
	var set principals.Mark
	err = twice(func(nonce string) (err error) {
		mark.Nonce = nonce
		set, err = s.of.indexer.Mark(ctx, of.Key, mark, s.of.options.LongestSession)
		return err
	})
	s.of.marks.invalidate(s.of.indexer.ShardOf(of.Key))
	if err != nil {
		return nil, err
	}
	return s.removeMarked(ctx, of, principals.Marks{Own: map[principals.Key]principals.Mark{of.Key: set}}, reason)
}

// twice sets a mark, and once more if that fails, as a connection may be broken: with another nonce, as the first one may be
// in force, and replaced meanwhile.
func twice(set func(nonce string) error) (err error) {
	for range 2 {
		if err = set(newNonce()); err == nil {
			break
		}
	}
	return err
}

// removeMarked removes the sessions of a principal that marks have ended from the store and the index, all or those with
// the tag that is given. Layers below needn't know, as what waits there to be written is over too. An error is
// returned if the marks are the process's own, and end with it: otherwise they hold without the removal.
func (s Principals) removeMarked(ctx context.Context, of principals.Entry, marks principals.Marks, reason principals.Reason) (ids []string, err error) {
	defer func() {
		if _, kept := s.of.Source(); kept {
			err = nil
		}
	}()
	state := shardState{Marks: marks}
	remove := s.removeEach
	if s.of.remover != nil {
		remove = s.of.remover.RemoveSessions
	}
	var after principals.Entry
	for more := true; more; {
		var entries []principals.Entry
		if entries, more, err = s.page(ctx, of, after, mostTogether); err != nil || len(entries) == 0 {
			return ids, err
		}
		after = entries[len(entries)-1]
		entries = slices.DeleteFunc(entries, func(e principals.Entry) bool { return of.Tag != "" && e.Tag != of.Tag })
		f, err := s.find(ctx, entries)
		if err != nil {
			return ids, err
		}
		over := slices.DeleteFunc(f.there, func(l located) bool { return !state.ends(l.record) })
		some, err := s.end(ctx, over, reason, remove)
		ids = append(ids, some...)
		if err != nil {
			return ids, err
		}
		s.of.leave(ctx, append(entriesOf(over), f.gone...))
	}
	return ids, nil
}

// RevokeEverybody ends the sessions of all principals by a mark; each is removed when it is met.
func (s Principals) RevokeEverybody(ctx context.Context, reason principals.Reason) error {
	if err := s.of.checkWhole(ctx); err != nil {
		return err
	}
	err := twice(func(nonce string) error {
		return s.of.indexer.MarkAll(ctx, principals.Mark{Nonce: nonce, Reason: reason}, s.of.options.LongestSession)
	})
	s.of.marks.invalidateAll()
	return err
}

// Page and Count are the index's.
func (s Principals) Page(ctx context.Context, cursor string, size int) ([]principals.Indexed, string, error) {
	if err := s.of.checkWhole(ctx); err != nil {
		return nil, "", err
	}
	return s.of.indexer.Page(ctx, cursor, size)
}

// Count is the number of principals with sessions.
func (s Principals) Count(ctx context.Context) (int, error) {
	if err := s.of.checkWhole(ctx); err != nil {
		return 0, err
	}
	return s.of.indexer.Count(ctx)
}

// Is reports whether a state is still that of the listed session.
func (l Session) Is(state *tiers.Snapshot) bool {
	if state.Len() == 0 {
		return false
	}
	r, has := recordOf(state.Data())
	return has && r.tag == l.Entry.Tag && r.key == l.Entry.Key
}

// Notice calls f after sessions may have been ended by a mark, which invalidates none of them one by
// one. f must return quickly, and call nothing of the index.
func (s Principals) Notice(f func()) (stop func()) { return s.of.marks.Subscribe(noticed(f)) }

// ReasonOf returns why a session has ended, "" if that isn't known, or no longer.
func (s Principals) ReasonOf(ctx context.Context, id string) (principals.Reason, error) {
	if tiers.CheckID(id) != nil {
		return "", nil
	}
	return s.of.indexer.ReasonOf(ctx, id)
}

// Explain adds why the session has ended to a tiers.ErrRevoked.
func (s Principals) Explain(ctx context.Context, id string, err error) error {
	var ended *Ended
	if !errors.Is(err, tiers.ErrRevoked) || errors.As(err, &ended) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), principals.FindTimeout)
	defer cancel()
	reason, failed := s.ReasonOf(ctx, id)
	if failed != nil || reason == "" {
		return err
	}
	return &Ended{Reason: reason, Cause: err}
}

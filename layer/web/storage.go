package web

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
)

// storage is the gsession.Storage through which r.Session reaches the chain, and what is known of that
// session. It belongs to the request's goroutine.
//
// A change of id is noted and made at the commit, so that a handler which panics, or whose commit
// fails, leaves the client with the session that it had.
type storage struct {
	gsession.StorageBase // disables per-key calls, as a store of whole sessions does; and UpdateTTL, as the commit slides the expiry

	q         *request
	loaded    bool            // the store was asked, or an id was made
	id        string          // what the session is called, or will be
	stored    string          // what the store calls it; "" where there is none
	endStored bool            // the session under stored ends when the one under id is there
	renames   bool            // a change of the record asks for another id
	loggedIn  bool            // by Login, since the last commit: what waits for the old id ends with it
	late      *gmap.StrAnyMap // the session that a late log-in began, see isLate; else nil
	left      string          // what a log-out in this request has ended
	record    record
	sent      int64 // when the client got the cookie that it has
	failed    error // of the handler's last call that failed, which it may panic with
}

// note notes the error of a handler's call, and returns it.
func (s *storage) note(err error) error {
	if err != nil && !errors.Is(err, gsession.ErrorDisabled) {
		s.failed = err
	}
	return err
}

var _ gsession.Storage = (*storage)(nil)

var errReserved = errors.New("strata: web: the key " + recordKey + " is reserved; take another one")

// takes has a session without an id be called so: as New, or the program's own SetIdFunc, says.
func (s *storage) takes(id string) {
	if s.id == "" {
		s.loaded, s.id = true, id
	}
}

// begins precedes a write. A session begins only if the client gets its id, and can send it.
func (s *storage) begins(id string) error {
	s.takes(id)
	switch {
	case s.stored != "":
		return nil
	case s.q.sealed():
		return errBegun
	case id == s.left:
		return errOwnID
	}
	if _, ok := s.q.of.read(id); !ok {
		return errOwnID
	}
	return nil
}

// last is the id by which the request's next session is asked for.
func (s *storage) last() string {
	if s.loaded {
		return s.stored
	}
	return s.q.presented.id
}

// touch completes the record before it is written.
func (s *storage) touch(now time.Time) {
	if s.record.began == 0 {
		s.record.began = now.UnixMilli()
	}
	if s.q.byCookie() && !s.q.writer.closed && (s.id != s.q.presented.id || s.due(now)) {
		s.record.sent = now.UnixMilli()
	}
}

// due reports whether a tenth of the cookie's life is used up, by a clock that may have been ahead when it was sent.
func (s *storage) due(now time.Time) bool {
	life := s.q.server.cookie.lasts(s.ttl(now))
	return life > 0 && now.Sub(time.UnixMilli(s.record.sent)).Abs() >= life/10
}

// ttl is how long the store is to keep the session from now. GoFrame's stores take no less than a
// second; the absolute limit is looked at once more when the session is loaded.
func (s *storage) ttl(now time.Time) time.Duration {
	left := s.record.left(now, s.q.server.idle, s.q.of.absolute)
	least := time.Second
	if idle, _ := s.record.limits(s.q.server.idle, 0); idle > 0 {
		least = min(least, idle)
	} else if left == 0 {
		return 0 // never
	}
	return max(left, least)
}

// slides notes that the store keeps the session for ttl.
func (s *storage) slides(now time.Time, ttl time.Duration) {
	if ttl > 0 {
		idle, _ := s.record.limits(s.q.server.idle, 0)
		s.q.of.expiries.note(s.stored, now.Add(ttl), idle <= 0 || ttl < idle)
	}
}

// New is for the first write of a request without a session, and for RegenerateId.
func (s *storage) New(context.Context, time.Duration) (string, error) {
	id := s.q.of.newID(s.record)
	s.takes(id)
	return id, nil
}

// GetSession is called once, before anything else. If there is no session under the id that it
// was given, the session takes a new one.
func (s *storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	for p := &s.q.presented; ; id = p.id {
		m, over, err := s.find(ctx, id, ttl)
		if err != nil || s.stored != "" {
			return m, s.note(err)
		}
		own := id != p.id // the handler's
		if !own && !s.q.ended && p.next() {
			if err := s.q.session.SetId(p.id); err != nil {
				return nil, err
			}
			continue
		}
		if over || !s.q.of.adopt && (!own || s.q.ended) {
			m, id = nil, ""
		}
		s.loaded, s.id = true, id
		return m, s.q.session.SetId(id)
	}
}

// find asks for a session, which is stored then, or returns whether the id's limit is over.
func (s *storage) find(ctx context.Context, id string, ttl time.Duration) (m *gmap.StrAnyMap, over bool, err error) {
	now, of, p := time.Now(), s.q.of, &s.q.presented
	if id != p.id {
		if _, ok := of.read(id); !ok {
			return nil, false, nil // a handler may have it from a request
		}
	} else if p.claimed.left(now, 0, of.absolute) < 0 {
		of.expiries.note(id, now, true)
		return nil, true, nil
	}
	if m, err = of.chain.GetSession(ctx, id, ttl); err == nil {
		err = of.checkWhole(ctx)
	}
	if err != nil {
		return m, false, err
	}
	if m == nil || m.Size() == 0 { // StorageMemory has an empty one for each id
		return m, false, nil
	}
	known := recordOf(m.Remove(recordKey))
	if known.left(now, 0, of.absolute) < 0 {
		err = of.remove(ctx, id, layer.ReasonExpired)
		of.expiries.note(id, now, true)
		return nil, true, err
	}
	s.loaded, s.id, s.stored, s.record, s.sent, p.gone = true, id, id, known, known.sent, nil
	return m, false, nil
}

// SetSession is called when the session is closed, and by RegenerateId with another id.
func (s *storage) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, _ time.Duration) error {
	now, of := time.Now(), s.q.of
	switch {
	case id != s.id:
		return s.rename(id)
	case s.renames:
		return errOwnID // by SetIdFunc: the session would keep its id
	case id == s.left:
		return nil // what was logged out isn't begun again
	case s.stored == "" && data.Size() == 0 && !s.record.wanted():
		return nil
	}
	moving := s.endStored && s.stored != "" && s.stored != s.id
	if s.stored != "" {
		defer of.moves.enter(s.stored, moving)()
	}
	before := s.record
	s.touch(now)
	ttl := s.ttl(now)
	var err error
	if moving && !s.loggedIn {
		if err = of.watch.leaveNote(ctx, s.stored, s.id); err != nil {
			of.logFailure(ctx, err)
		}
	}
	if err == nil {
		err = s.write(ctx, data, ttl)
	}
	data.Remove(recordKey)
	if err == nil && moving {
		err = s.endOld(ctx)
	}
	if change := sessionmap.LastChange(data); change != nil && s.isLate(err) {
		moving = moving && s.late != nil // else the old one has ended
		if err = s.writeLate(ctx, change, ttl); err == nil && moving {
			err = s.endOld(ctx)
		}
	}
	if err != nil {
		s.record = before
		return err
	}
	s.stored, s.endStored, s.loggedIn = s.id, false, false
	s.slides(now, ttl)
	return nil
}

// endOld ends the session that goes on under another id. If it can't, it ends the new one.
func (s *storage) endOld(ctx context.Context) error {
	of := s.q.of
	s.follow(s.stored, s.id)
	err := of.remove(ctx, s.stored, "")
	if err != nil {
		s.follow(s.id, s.stored)
		err = errors.Join(err, of.remove(ctx, s.id, ""))
	}
	if err != nil && !errors.Is(err, layer.ErrRevoked) { // as another request's change of id makes it
		of.logFailure(ctx, err)
	}
	return err
}

// write writes a map of the session.
func (s *storage) write(ctx context.Context, data *gmap.StrAnyMap, ttl time.Duration) error {
	if err := s.q.of.checkWhole(ctx); err != nil { // a session that begins wasn't read
		s.q.of.logFailure(ctx, err)
		return err
	}
	data.Set(recordKey, s.record.String())
	return s.q.of.chain.SetSession(s.q.described(ctx), s.id, data, ttl)
}

// rename has the session be called otherwise from the next commit on.
func (s *storage) rename(id string) error {
	if s.q.sealed() {
		return errBegun
	}
	if _, ok := s.q.of.read(id); !ok {
		return errOwnID
	}
	s.takes(id)
	s.id = id
	return nil
}

// isLate reports whether the error is that of a log-in whose session has ended meanwhile, as by the first log-in of a
// double click. It begins a session of its own then, of what its request has changed itself, as if it had come a moment
// later.
func (s *storage) isLate(err error) bool {
	return errors.Is(err, layer.ErrRevoked) && s.stored != "" && (s.late != nil || s.loggedIn)
}

// writeLate writes the change of such a log-in, or a later one of its request, which still holds the map of the
// session from before.
func (s *storage) writeLate(ctx context.Context, change *tiers.Delta, ttl time.Duration) error {
	if s.late == nil {
		s.late = gmap.NewStrAnyMap(true)
	}
	s.late.LockFunc(func(own map[string]any) {
		maps.Copy(own, change.Set())
		for _, key := range change.Removed() {
			delete(own, key)
		}
	})
	return s.write(ctx, s.late, ttl)
}

// follow has what waits for the end of the session wait for it under another id: after a log-in this
// request alone, as an attacker who had the old id may have sent the others.
func (s *storage) follow(from, to string) {
	if watch := &s.q.of.watch; s.loggedIn {
		watch.follow(s.q.until, to, s.q.server.idle)
	} else {
		watch.moved(from, to)
	}
}

// RemoveAll is the log-out, or RegenerateId ending the id from before.
func (s *storage) RemoveAll(ctx context.Context, id string) error {
	if id != s.id {
		s.endStored = s.endStored || id == s.stored
		return nil
	}
	// Another request may have changed the id since the client has sent this one.
	for _, id := range append([]string{s.stored}, s.q.presented.gone...) {
		if err := s.q.of.logOut(ctx, id); err != nil {
			return s.note(err)
		}
	}
	s.left, s.stored, s.endStored, s.late, s.record = id, "", false, nil, record{}
	if s.q.sealed() {
		return nil
	}
	_, err := s.q.session.RegenerateId(false) // what comes after a log-out isn't what was ended
	return s.note(err)
}

// Set precedes the write of a key to the session's map, as SetMap and Remove do.
func (s *storage) Set(_ context.Context, id, _ string, _ any, _ time.Duration) error {
	return cmp.Or(s.begins(id), gsession.ErrorDisabled)
}

// SetMap is Set for several keys.
func (s *storage) SetMap(_ context.Context, id string, _ map[string]any, _ time.Duration) error {
	return cmp.Or(s.begins(id), gsession.ErrorDisabled)
}

// Remove keeps the handler from the package's own key.
func (s *storage) Remove(_ context.Context, _, key string) error {
	if key == recordKey {
		return errReserved
	}
	return gsession.ErrorDisabled
}

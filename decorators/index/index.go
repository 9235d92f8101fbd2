// Package index knows whose a session is, and keeps an index of each principal's sessions.
//
// A write in which a principal appears, or another one, is a log-in: the session is entered in the
// index first, in one step that also returns those entered before, for the limit, and the nonces of the marks in
// force, and holds them from its commit on, under [Key]. A principal's sessions are ended by a new
// mark, in one write: every session that holds another nonce is over, wherever it is met, whether
// the index knows it or not. Each node has the marks in memory, with the same invalidations as
// sessions.
package index

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/generations"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/tiers"
)

// Errors of an index.
var (
	ErrLimit  = tiers.NewError("strata: this principal has as many sessions as layer.Limit allows; end one of them first", nil)
	ErrCursor = principals.ErrCursor
	ErrHandle = tiers.NewError("strata: this is no handle of a session; take one from Users.List", nil)

	errLost = tiers.NewError("strata: layer.Indexed: its func finds another principal, or none, in what comes back from the store, where numbers are "+
		"json.Number and structs are maps; have it convert the value, as by gconv.String", nil)
)

// Ended is a tiers.ErrRevoked that knows why the session has ended.
type Ended struct {
	Reason principals.Reason
	Cause  error
}

func (e *Ended) Error() string { return tiers.ErrRevoked.Error() }

// Unwrap returns the cause, in which errors.Is finds tiers.ErrRevoked.
func (e *Ended) Unwrap() error { return e.Cause }

// NotApplied says that nothing was written.
func (e *Ended) NotApplied() bool { return true }

// Storage keeps the index of the sessions that pass through it. It is safe for concurrent use.
//
// recent, begun, queue, marks and maps guard themselves; mu guards indexer, remover and stops until
// the chain stands, after which they don't change; the rest is set at construction.
//
// Lock order: Storage.mu, the mutexes of a source below, marks.mu, those of the caches above, which
// are notified under it. memory.mu, begun.mu and queue.mu are held while no other lock is taken. A
// shard's right to load is held over a read of the store, and no mutex is.
type Storage struct {
	tiers.Base
	given   gsession.Storage // as New got it, for Unwrap
	maps    *sessionmap.Maps
	owners  owners
	preview tiers.Preview // nil where it isn't known
	options Options
	indexer principals.Index
	remover principals.Remover // nil for none
	marks   *marks
	begun   begun
	recent  recent
	queue   queue

	mu     sync.Mutex
	stops  []func()
	cancel context.CancelFunc
	over   context.Context
	done   sync.WaitGroup
}

var _ tiers.Storage = (*Storage)(nil)

// New keeps an index over a storage. principal returns whose a session with the given data is, ""
// for nobody's; it must not change the data. If it is nil, or returns "", web.Login says so.
func New(inner gsession.Storage, principal func(data map[string]any) string, options Options) *Storage {
	s := &Storage{Base: tiers.Base{Storage: sessionmap.Adapt(inner)}, given: inner, owners: principal, preview: tiers.PreviewOf(inner), options: options}
	s.maps = sessionmap.New(s)
	s.over, s.cancel = context.WithCancel(context.Background())
	s.use(newMemory())
	s.Discover(inner)
	s.queue.start(s)
	return s
}

// use has the index kept by indexer.
func (s *Storage) use(indexer principals.Index) {
	if m, ok := indexer.(*memory); ok {
		marks := newMarks(m)
		marks.vouched.Store(1<<63 - 1)
		m.changed = marks.invalidateAll
		s.indexer, s.marks = m, marks
		return
	}
	s.remover, _ = indexer.(principals.Remover)
	s.indexer = circuit.OverIndex(s.over, indexer)
	marks := newMarks(s.indexer)
	s.marks = marks
	s.done.Add(1)
	go func() {
		defer s.done.Done()
		marks.keep(s.over)
	}()
}

// Discover looks for a store with an index, and for sources, in a storage below and what that shows
// with Unwrap. The constructor calls it; a chain calls it for layers behind one without Unwrap.
func (s *Storage) Discover(below gsession.Storage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for below := range tiers.Layers(below) {
		if _, ok := below.(*Storage); ok {
			panic("strata: layer.Indexed stands twice among the decorators of layer.Chain, or of the chain that is its store; leave one out")
		}
		if indexer := principals.IndexOf(below); indexer != nil {
			if _, none := s.indexer.(*memory); none {
				s.use(indexer)
				if source, ok := below.(tiers.InvalidationSource); ok {
					s.stops = append(s.stops, source.Subscribe(s.marks))
				} else {
					s.marks.bounded.Store(true)
				}
			}
		}
	}
}

// Unwrap returns the storage below.
func (s *Storage) Unwrap() gsession.Storage { return s.given }

// Close ends what the index started, after what is queued has been written, or ctx has ended.
func (s *Storage) Close(ctx context.Context) error {
	err := s.queue.close(ctx)
	s.mu.Lock()
	stops := s.stops
	s.stops = nil
	s.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	s.cancel()
	s.done.Wait()
	return err
}

// Flush waits until what is queued is written.
func (s *Storage) Flush(ctx context.Context) error { return s.queue.flush(ctx) }

// Source notifies a cache above of sessions that the index has ended. If the index is in the process, it doesn't vouch
// for what others write.
func (s *Storage) Source() (source tiers.InvalidationSource, vouches bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, process := s.indexer.(*memory)
	return s.marks, !process
}

// Principals are the index's sessions by whose they are.
func (s *Storage) Principals() Principals { return Principals{s} }

// Load returns no session if it is over by a mark, and removes it then.
func (s *Storage) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	before := s.marks.reads.Load()
	read, err := s.Storage.Load(ctx, id, ttl)
	if err != nil || !s.isWhole(ctx) || read.Snapshot.Len() == 0 {
		return read, err
	}
	return s.loaded(ctx, id, ttl, read, before)
}

// loaded judges a session that was read after the marks of a number. Marks can be lost together with the sessions, as by
// FLUSHDB, which a cache below learns a moment later: so a session is over by marks that were read after it, and lives by
// marks that were read before it.
func (s *Storage) loaded(ctx context.Context, id string, ttl time.Duration, read tiers.Read, before uint64) (tiers.Read, error) {
	var alive record
	for range mostReads {
		principal, r, has := s.owners.recorded(read.Snapshot.Data())
		if principal == "" {
			return read, nil
		}
		if r == alive {
			return s.touched(ctx, id, ttl, read, r, has), nil
		}
		if read.Outcome == tiers.OutcomeStale && s.marks.lives(r, before) { // the store hangs or fails, and the index with it
			return s.touched(ctx, id, ttl, read, r, has), nil
		}
		state, err := s.marks.of(ctx, r.key)
		was := err == nil && state.ends(r)
		if was {
			state, err = s.marks.after(ctx, r.key) // see judge
		}
		if err != nil {
			return tiers.Read{}, err
		}
		reason, over := state.verdict(r)
		switch {
		case over:
			read.Snapshot = s.end(ctx, read.Snapshot, r.entry(id, ttl), reason)
		case was: // it has begun after a mark that wasn't in memory, or the mark is lost
			alive = r
			if read.Snapshot, err = s.current(ctx, id, read.Snapshot, left(read.Snapshot, ttl)); err != nil {
				return tiers.Read{}, err
			}
		case state.read > before:
			alive = r
			if read, err = s.Storage.Load(ctx, id, ttl); err != nil {
				return tiers.Read{}, err
			}
		default:
			return s.touched(ctx, id, ttl, read, r, has), nil
		}
		if before = state.read; read.Snapshot.Len() == 0 {
			return tiers.Read{Outcome: read.Outcome}, nil
		}
	}
	return tiers.Read{}, errUnsettled
}

// mostReads is how often a session is read that is another one each time.
const mostReads = 8

var errUnsettled = tiers.NewError("strata: a session was replaced each time that it was read, so that it isn't known whether it is over; try again", nil)

// touched notes that a session is in use.
func (s *Storage) touched(ctx context.Context, id string, ttl time.Duration, read tiers.Read, r record, has bool) tiers.Read {
	if has && s.recent.due(ctx, id, ttl) {
		s.queue.touch(r.entry(id, max(ttl, left(read.Snapshot, ttl)))) // it may have a longer one of its own
	}
	return read
}

// left is for how long a session lives as it is, or ttl if that isn't known.
func left(session *tiers.Snapshot, ttl time.Duration) time.Duration {
	if until, known := session.Expires(); known && !until.IsZero() {
		return max(time.Until(until), time.Millisecond)
	}
	return ttl
}

// end ends a session that is over by a mark. The read may be old: another session that has begun under
// its id since is left alone, and returned. If the store fails, the next call that loads the session
// tries again.
func (s *Storage) end(ctx context.Context, was *tiers.Snapshot, entry principals.Entry, reason principals.Reason) (another *tiers.Snapshot) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), principals.EndTimeout)
	defer cancel()
	for range mostEnds {
		now, err := s.current(ctx, entry.ID, was, entry.TTL)
		if err != nil {
			return nil
		}
		if now.Len() > 0 {
			if !s.owners.holds(now, entry) {
				return now
			}
			// Before it ends: other nodes ask for the reason as soon as they notice the end.
			_ = s.indexer.Because(ctx, []string{entry.ID}, reason, s.options.KeepReasons)
			// It isn't removed, as a log-in may come under its id meanwhile: what is left is no session, and expires at once.
			_, err = s.Storage.Commit(ctx, entry.ID, tiers.End(now), time.Second) // GoFrame's stores take no less
			if errors.Is(err, tiers.ErrConflict) {
				was = now
				continue
			}
			if err != nil && !errors.Is(err, tiers.ErrRevoked) {
				return nil
			}
			s.maps.Removed(entry.ID)
		}
		s.begun.forget(entry.ID)
		s.queue.leave(entry)
		return nil
	}
	return nil
}

const mostEnds = 8 // of a session that changes each time

// current returns a session as the store holds it, whatever a cache below knows, nil if it is gone.
func (s *Storage) current(ctx context.Context, id string, was *tiers.Snapshot, ttl time.Duration) (*tiers.Snapshot, error) {
	if was.Len() > 0 { // an inquiry is about what was there
		now, err := s.Storage.Commit(ctx, id, tiers.Inquiry(was), ttl)
		if errors.Is(err, tiers.ErrRevoked) {
			return nil, nil
		}
		if err != nil || now != nil {
			return now, err
		}
	}
	read, err := s.Storage.Load(ctx, id, ttl)
	return read.Snapshot, err
}

// Commit enters a session that begins, and refuses what comes after a mark.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if !s.isWhole(ctx) {
		return s.Storage.Commit(ctx, id, delta, ttl)
	}
	c := change{of: s, id: id, ttl: ttl, delta: delta}
	if err := c.prepare(ctx); err != nil {
		return nil, tiers.NotApplied(err)
	}
	snapshot, err := s.Storage.Commit(ctx, id, c.delta, ttl)
	return snapshot, c.finish(ctx, err)
}

// ReasonDisplaced is that of a session which was ended for a new one.
const ReasonDisplaced principals.Reason = "displaced"

// CommitAll is Commit of each: those that the index lets pass go on together.
func (s *Storage) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	if !s.isWhole(ctx) {
		return s.Base.CommitAll(ctx, commits)
	}
	var (
		results = make([]tiers.Committed, len(commits))
		changes = make([]change, len(commits))
		pass    []tiers.Commit
		places  []int
	)
	for n, c := range commits {
		changes[n] = change{of: s, id: c.ID, ttl: c.TTL, delta: c.Delta}
		if err := changes[n].prepare(ctx); err != nil {
			results[n].Err = tiers.NotApplied(err)
			continue
		}
		c.Delta = changes[n].delta
		pass, places = append(pass, c), append(places, n)
	}
	if len(pass) == 0 {
		return results
	}
	for n, result := range s.Base.CommitAll(ctx, pass) {
		at := places[n]
		results[at] = tiers.Committed{Snapshot: result.Snapshot, Err: changes[at].finish(ctx, result.Err)}
	}
	return results
}

// LoadAll is Load of each, together.
func (s *Storage) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	before := s.marks.reads.Load()
	results := s.Base.LoadAll(ctx, loads)
	if !s.isWhole(ctx) {
		return results
	}
	for n := range results {
		if one := &results[n]; one.Err == nil && one.Read.Snapshot.Len() > 0 {
			one.Read, one.Err = s.loaded(ctx, loads[n].ID, loads[n].TTL, one.Read, before)
		}
	}
	return results
}

// RemoveAll is a log-out, unless WithReason says otherwise.
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	if !s.isWhole(ctx) {
		return s.Storage.RemoveAll(ctx, id)
	}
	entry, known := s.find(ctx, id)
	if known {
		reason, given := reasonOf(ctx)
		if !given {
			reason = ReasonLoggedOut
		}
		if reason != "" {
			soon, cancel := context.WithTimeout(ctx, principals.FindTimeout)
			_ = s.indexer.Because(soon, []string{id}, reason, s.options.KeepReasons)
			cancel()
		}
	}
	if err := s.Storage.RemoveAll(ctx, id); err != nil {
		return err
	}
	s.maps.Removed(id)
	s.begun.forget(id)
	if known {
		s.leave(ctx, []principals.Entry{entry})
	}
	return nil
}

// leave removes entries of sessions that have ended, before a limit counts them again; later where
// the index can't now, and once more where touches may be on their way.
func (s *Storage) leave(ctx context.Context, entries []principals.Entry) {
	if len(entries) == 0 {
		return
	}
	within := principals.EndTimeout
	if deadline, has := ctx.Deadline(); has {
		within = min(within, time.Until(deadline))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	onTheirWay := s.queue.forget(entries)
	if s.indexer.Leave(ctx, entries) != nil || onTheirWay {
		for _, e := range entries {
			s.queue.leave(e)
		}
	}
}

// ReasonLoggedOut is that of a session whose user has ended it.
const ReasonLoggedOut principals.Reason = "logged_out"

// find returns the entry of a session that is about to end.
func (s *Storage) find(ctx context.Context, id string) (principals.Entry, bool) {
	ctx, cancel := context.WithTimeout(ctx, principals.FindTimeout)
	defer cancel()
	entry, err := s.look(ctx, id)
	return entry, err == nil && entry.Tag != ""
}

// look returns the entry of a session as the store below holds it, without a tag if it has none.
func (s *Storage) look(ctx context.Context, id string) (principals.Entry, error) {
	if !s.isWhole(ctx) {
		return principals.Entry{}, nil
	}
	read, err := s.Storage.Load(ctx, id, time.Minute) // StorageFile judges by it, which may hide a session that is gone anyway
	if err != nil || read.Snapshot.Len() == 0 {
		return principals.Entry{}, err
	}
	_, r, _ := s.owners.recorded(read.Snapshot.Data())
	return r.entry(id, 0), nil
}

// GetSession hands out a copy of the session to a layer above without the capability.
func (s *Storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if s.isWhole(ctx) {
		return s.maps.GetSession(ctx, id, ttl)
	}
	return s.Storage.GetSession(ctx, id, ttl)
}

// SetSession commits what was changed in the map since it was handed out.
func (s *Storage) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	if s.isWhole(ctx) {
		return s.maps.SetSession(ctx, id, data, ttl)
	}
	return s.Storage.SetSession(ctx, id, data, ttl)
}

// errKeys is returned over a direct store: a log-in, a limit and a mark are about whole sessions.
var errKeys = tiers.NotApplied(tiers.NewError("strata: layer.Indexed: the store is written key by key, as RedisHashTable, and whose a session is has to be known of whole ones; put layer.Snapshots() first among the decorators of layer.Chain", nil))

// isWhole reports whether sessions are read and written whole; this layer looks at no others.
func (s *Storage) isWhole(ctx context.Context) bool { return s.Style(ctx) == tiers.StyleSnapshot }

// checkWhole returns an error if the storage below is written key by key, or if that isn't known as it is away.
func (s *Storage) checkWhole(ctx context.Context) error {
	style, err := tiers.StyleOf(ctx, s.Storage)
	if err == nil && style != tiers.StyleSnapshot {
		err = errKeys
	}
	return err
}

// Set is refused over a direct store.
func (s *Storage) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	if err := s.checkWhole(ctx); err != nil {
		return err
	}
	return s.Storage.Set(ctx, id, key, value, ttl)
}

// SetMap is refused over a direct store.
func (s *Storage) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	if err := s.checkWhole(ctx); err != nil {
		return err
	}
	return s.Storage.SetMap(ctx, id, data, ttl)
}

// Remove is refused over a direct store.
func (s *Storage) Remove(ctx context.Context, id, key string) error {
	if err := s.checkWhole(ctx); err != nil {
		return err
	}
	return s.Storage.Remove(ctx, id, key)
}

// begun remembers the records of sessions that have begun on this node, for what a request
// closes a second time, and for the second attempt of a commit: its record has to be the same.
// It holds twice mostBegun at most. mu guards all fields.
type begun struct {
	mu      sync.Mutex
	records generations.Map[string, begunRecord] // by id
}

type begunRecord struct {
	principal string
	record
}

const mostBegun = 8192

func (b *begun) note(id, principal string, r record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records.Put(id, begunRecord{principal, r}, mostBegun)
}

func (b *begun) of(id, principal string) (record, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.records.Get(id)
	if !ok || r.principal != principal {
		return record{}, false
	}
	return r.record, true
}

func (b *begun) forget(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records.Delete(id)
}

// recent knows which sessions were touched not long ago. Two that share a slot take turns. The
// slots are atomic; each holds 32 bits of a hash and a moment in tenths of a second.
type recent struct {
	once  sync.Once
	seed  maphash.Seed
	slots []atomic.Uint64
}

const recentSlots = 1 << 16

// touchEvery is how often a session in use is noted at most.
const touchEvery = time.Minute

// due reports whether the session is to be noted as in use, and that it is.
func (r *recent) due(ctx context.Context, id string, ttl time.Duration) bool {
	r.once.Do(func() { r.seed, r.slots = maphash.MakeSeed(), make([]atomic.Uint64, recentSlots) })
	hash := maphash.String(r.seed, id)
	slot, now := &r.slots[hash%recentSlots], uint64(time.Since(started)/(100*time.Millisecond))+1
	every := touchEvery
	if ttl > 0 { // it expires
		every = min(every, ttl/10)
	}
	word := slot.Load()
	at := word & (1<<32 - 1)
	if at != 0 && now-at < uint64(every/(100*time.Millisecond)) || isLook(ctx) {
		return false
	}
	return slot.CompareAndSwap(word, hash&^(1<<32-1)|now&(1<<32-1))
}

// queue writes entries to the index, in the background and many together. An entry that doesn't
// fit is left out: the next touch, or the next List, corrects the index. mu guards all fields but
// wake.
type queue struct {
	wake chan struct{}

	mu      sync.Mutex
	touched map[string]principals.Entry // by id
	left    []principals.Entry
	writing bool
	waiting []chan struct{}
	closed  bool
}

const (
	mostQueued   = 16384
	mostTogether = 512
	queueTimeout = 2 * time.Second
)

func (q *queue) start(s *Storage) {
	q.wake = make(chan struct{}, 1)
	s.done.Add(1)
	go func() {
		defer s.done.Done()
		q.run(s)
	}()
}

func (q *queue) touch(e principals.Entry) {
	q.add(func() {
		if q.touched == nil {
			q.touched = map[string]principals.Entry{}
		}
		q.touched[e.ID] = e
	})
}

// forget drops touches, except those that may be on their way.
func (q *queue) forget(entries []principals.Entry) (onTheirWay bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range entries {
		delete(q.touched, e.ID)
	}
	return q.writing
}

func (q *queue) leave(e principals.Entry) {
	q.add(func() {
		delete(q.touched, e.ID)
		q.left = append(q.left, e)
	})
}

func (q *queue) add(put func()) {
	q.mu.Lock()
	if !q.closed && q.length() < mostQueued {
		put()
	}
	q.mu.Unlock()
	q.rouse()
}

// length is called under mu.
func (q *queue) length() int { return len(q.touched) + len(q.left) }

func (q *queue) rouse() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the next to be written.
func (q *queue) take() (touched, left []principals.Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, e := range q.touched {
		if len(touched) == mostTogether {
			break
		}
		touched = append(touched, e)
		delete(q.touched, id)
	}
	n := min(len(q.left), mostTogether)
	left, q.left = q.left[:n:n], slices.Clone(q.left[n:])
	q.writing = len(touched)+len(left) > 0
	if !q.writing {
		for _, w := range q.waiting {
			close(w)
		}
		q.waiting = nil
	}
	return touched, left
}

func (q *queue) run(s *Storage) {
	for {
		touched, left := q.take()
		if len(touched)+len(left) == 0 {
			select {
			case <-q.wake:
				continue
			case <-s.over.Done():
				return
			}
		}
		ctx, cancel := context.WithTimeout(s.over, queueTimeout)
		if len(touched) > 0 {
			_ = s.indexer.Touch(ctx, touched)
		}
		if len(left) > 0 {
			_ = s.indexer.Leave(ctx, left)
		}
		cancel()
		if s.over.Err() != nil {
			return
		}
	}
}

// flush waits until all that was queued before is written.
func (q *queue) flush(ctx context.Context) error {
	done := make(chan struct{})
	q.mu.Lock()
	if !q.writing && q.length() == 0 || q.closed {
		q.mu.Unlock()
		return nil
	}
	q.waiting = append(q.waiting, done)
	q.mu.Unlock()
	q.rouse()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return tiers.NewError("strata: the index of sessions was not written in time; it heals as they are used", ctx.Err())
	}
}

func (q *queue) close(ctx context.Context) error {
	err := q.flush(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.touched, q.left = nil, nil
	for _, w := range q.waiting {
		close(w)
	}
	q.waiting = nil
	return err
}

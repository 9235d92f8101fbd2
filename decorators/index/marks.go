package index

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/tiers"
)

// marks are an index's marks in memory. A shard is valid while its source vouches for it and
// hasn't invalidated it since it was read; without a source that can, for maxAge. The next call
// that needs another shard reads it, so that a check which begins after a mark was set, and within
// the bounds of layer.Local, finds the mark.
//
// It is a source itself, for caches above the index, of the sessions that the index removes. A mark ends sessions without
// an invalidation of each, so that all are invalidated. mu guards listeners and unsupported, and is held
// while listeners are notified; indexer and shards are set at construction; the other fields are
// atomics.
type marks struct {
	indexer principals.Index
	shards  []shard
	epoch   atomic.Uint64 // counts the times at which no source vouched
	reads   atomic.Uint64 // counts reads of shards
	vouched atomic.Int64  // until when, in nanoseconds since started
	bounded atomic.Bool   // no source vouches, so that maxAge bounds
	stale   chan struct{} // has the keeper read

	mu          sync.Mutex
	listeners   []*tiers.InvalidationListener
	unsupported error
}

// shard is one of them. loading holds the right to load it; stamp counts its changes.
type shard struct {
	stamp   atomic.Uint64
	state   atomic.Pointer[shardState]
	loading chan struct{}
}

type shardState struct {
	stamp, epoch uint64
	began        int64  // when it was asked for
	read         uint64 // its number among all reads of shards, by their ends
	principals.Marks
}

var started = time.Now()

func clock() int64 { return int64(time.Since(started)) }

// maxAge bounds the age of marks if no source vouches for them.
const maxAge = time.Second

func newMarks(indexer principals.Index) *marks {
	m := &marks{indexer: indexer, shards: make([]shard, indexer.Shards()), stale: make(chan struct{}, 1)}
	for n := range m.shards {
		m.shards[n].loading = make(chan struct{}, 1)
	}
	return m
}

// fresh is the shard's state if it is valid. It reads the lease before the epoch: after a loss a new epoch begins
// before the source vouches again.
func (m *marks) fresh(s *shard) *shardState {
	vouched, bounded := m.vouched.Load(), m.bounded.Load()
	state := s.state.Load()
	if state == nil || state.stamp != s.stamp.Load() || state.epoch != m.epoch.Load() {
		return nil
	}
	if now := clock(); now >= vouched && !(bounded && now-state.began < int64(maxAge)) {
		return nil
	}
	return state
}

// of returns the marks that apply to a principal, as they are in memory, or as after does.
func (m *marks) of(ctx context.Context, key principals.Key) (*shardState, error) {
	if state := m.fresh(&m.shards[m.indexer.ShardOf(key)]); state != nil {
		return state, nil
	}
	return m.after(ctx, key)
}

// after returns the marks that apply to a principal, as they were at some moment after the call
// began.
func (m *marks) after(ctx context.Context, key principals.Key) (*shardState, error) {
	ctx, cancel := principals.Bounded(ctx)
	defer cancel()
	number := m.indexer.ShardOf(key)
	s := &m.shards[number]
	began := clock()
	select {
	case s.loading <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.loading }()
	if state := s.state.Load(); state != nil && state.began > began && state.stamp == s.stamp.Load() {
		return state, nil // another call has read it meanwhile; one of the same tick of the clock may have come before
	}
	if err := m.load(ctx, []int{number}); err != nil {
		return nil, err
	}
	return s.state.Load(), nil
}

// lives reports whether a session isn't over by the marks as they were read last, if that was before the session was.
func (m *marks) lives(r record, before uint64) bool {
	s := &m.shards[m.indexer.ShardOf(r.key)]
	state := s.state.Load()
	return state != nil && state.read <= before && state.stamp == s.stamp.Load() && !state.ends(r)
}

// load reads shards.
func (m *marks) load(ctx context.Context, numbers []int) error {
	states := make([]*shardState, len(numbers))
	for n, number := range numbers {
		states[n] = &shardState{stamp: m.shards[number].stamp.Load(), epoch: m.epoch.Load(), began: clock()}
	}
	read, err := m.indexer.Marks(ctx, numbers)
	if err != nil {
		return err
	}
	for n, number := range numbers {
		states[n].Marks, states[n].read = read[n], m.reads.Add(1)
		s := &m.shards[number]
		for {
			old := s.state.Load()
			if old != nil && old.began > states[n].began || s.state.CompareAndSwap(old, states[n]) {
				break
			}
		}
	}
	return nil
}

// invalidate has a shard read again, before lives goes by it as well.
func (m *marks) invalidate(number int) {
	m.shards[number].stamp.Add(1)
	m.notify()
}

func (m *marks) invalidateAll() {
	for n := range m.shards {
		m.shards[n].stamp.Add(1)
	}
	m.notify()
}

func (m *marks) notify() {
	m.wake()
	m.each(func(l tiers.InvalidationListener) { l.InvalidateAll() })
}

// ended notifies caches of sessions that were removed below them.
func (m *marks) ended(ids []string) {
	for _, id := range ids {
		m.each(func(l tiers.InvalidationListener) { l.Invalidate(id) })
	}
}

func (m *marks) each(call func(tiers.InvalidationListener)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.listeners {
		call(*l)
	}
}

func (m *marks) wake() {
	select {
	case m.stale <- struct{}{}:
	default:
	}
}

var (
	_ tiers.InvalidationSource = (*marks)(nil)
	_ tiers.InvalidationErrer  = (*marks)(nil)
)

// Subscribe is a source's.
func (m *marks) Subscribe(l tiers.InvalidationListener) (stop func()) {
	own := &l
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listeners = append(m.listeners, own)
	switch until := m.vouched.Load(); {
	case m.unsupported != nil:
		l.Unsupported(m.unsupported)
	case until > clock():
		l.InvalidateAll()
		l.ValidUntil(started.Add(time.Duration(until)))
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.listeners = slices.DeleteFunc(slices.Clone(m.listeners), func(other *tiers.InvalidationListener) bool { return other == own })
	}
}

// InvalidationErr is nil: the source below has its own.
func (m *marks) InvalidationErr() error { return nil }

// noticed is a listener that is called when sessions may have ended.
type noticed func()

func (f noticed) Invalidate(string)    {}
func (f noticed) InvalidateAll()       { f() }
func (f noticed) ValidUntil(time.Time) {}
func (f noticed) Unsupported(error)    {}

// keep reads what has become stale, so that requests find it in memory, until ctx ends.
func (m *marks) keep(ctx context.Context) {
	for {
		select {
		case <-m.stale:
		case <-ctx.Done():
			return
		}
		var numbers []int
		for n := range m.shards {
			if m.fresh(&m.shards[n]) == nil {
				numbers = append(numbers, n)
			}
		}
		if len(numbers) == 0 || clock() >= m.vouched.Load() {
			continue // no source vouches: each call that needs one reads it
		}
		loading, cancel := context.WithTimeout(ctx, keepTimeout)
		_ = m.load(loading, numbers) // the next call that needs one reads it, and gets the error
		cancel()
	}
}

const keepTimeout = time.Second

var _ tiers.InvalidationListener = (*marks)(nil)

// Invalidate is a source's.
func (m *marks) Invalidate(id string) {
	if number, ours := m.indexer.ShardOfInvalidated(id); ours {
		m.invalidate(number)
	}
}

// InvalidateAll is a source's.
func (m *marks) InvalidateAll() { m.invalidateAll() }

// ValidUntil is a source's. Marks that were read before the source vouched stay invalid.
func (m *marks) ValidUntil(until time.Time) {
	lapsed := m.vouched.Load() < clock()
	if lapsed {
		m.epoch.Add(1)
	}
	if m.vouched.Store(int64(until.Sub(started))); lapsed {
		m.wake()
	}
	if !until.IsZero() {
		m.bounded.Store(false)
		m.mu.Lock()
		m.unsupported = nil
		m.mu.Unlock()
	}
	m.each(func(l tiers.InvalidationListener) { l.ValidUntil(until) })
}

// Unsupported is a source's.
func (m *marks) Unsupported(reason error) {
	m.bounded.Store(true)
	m.mu.Lock()
	m.unsupported = reason
	m.mu.Unlock()
	m.each(func(l tiers.InvalidationListener) { l.Unsupported(reason) })
}

// judge says whether a session that was read before the call is over by a mark, and why. A nonce that isn't the
// mark's in memory may be that of a later mark, as nonces have no order: so only marks that were read after
// the session end it.
func (m *marks) judge(ctx context.Context, r record) (reason principals.Reason, over bool, err error) {
	state, err := m.of(ctx, r.key)
	if err != nil {
		return "", false, err
	}
	if !state.ends(r) {
		return "", false, nil
	}
	return m.judgeAnew(ctx, r)
}

// judgeAnew is judge by marks that are read after the call has begun.
func (m *marks) judgeAnew(ctx context.Context, r record) (reason principals.Reason, over bool, err error) {
	state, err := m.after(ctx, r.key)
	if err != nil {
		return "", false, err
	}
	reason, over = state.verdict(r)
	return reason, over, nil
}

// verdict says whether these marks have ended a session, and why.
func (s *shardState) verdict(r record) (reason principals.Reason, over bool) {
	if reason, over = s.Ended[r.tag]; over {
		return reason, true
	}
	if mark := s.Own[r.key]; mark.Ends(r.tag, r.own) {
		return mark.Reason, true
	}
	if s.All.Ends(r.tag, r.all) {
		return s.All.Reason, true
	}
	return "", false
}

func (s *shardState) ends(r record) bool {
	_, over := s.verdict(r)
	return over
}

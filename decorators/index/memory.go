package index

import (
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/gf-strata/strata/internal/principals"
)

// memory is the index of this process, for a store that keeps none: other processes on the
// store have their own, and a restart loses it.
//
// Entries are bounded by the store's sessions, marks by how many were set within their life;
// both are removed by the first call after they have expired. mu guards all fields.
type memory struct {
	mu      sync.Mutex
	entries map[principals.Key]*principal
	all     memoryMark
	own     map[principals.Key]memoryMark
	ended   map[string]memoryReason // by tag
	reasons map[string]memoryReason // by id
	last    time.Time               // when all sessions will have expired
	swept   time.Time
	changed func()
}

type principal struct {
	name     string
	sessions map[string]principals.Entry // by id
}

type memoryMark struct {
	principals.Mark
	until time.Time
}

type memoryReason struct {
	reason principals.Reason
	until  time.Time
}

var _ principals.Index = (*memory)(nil)

func newMemory() *memory {
	return &memory{
		entries: map[principals.Key]*principal{}, own: map[principals.Key]memoryMark{},
		ended: map[string]memoryReason{}, reasons: map[string]memoryReason{},
	}
}

// sweepEvery is how often what has expired is looked for.
const sweepEvery = 10 * time.Second

func (m *memory) sweep(now time.Time) {
	if now.Sub(m.swept) < sweepEvery {
		return
	}
	m.swept = now
	for key, p := range m.entries {
		m.expire(key, p, now)
	}
	for key, mark := range m.own {
		if now.After(mark.until) {
			delete(m.own, key)
		}
	}
	if now.After(m.all.until) {
		m.all = memoryMark{}
	}
	for _, reasons := range []map[string]memoryReason{m.ended, m.reasons} {
		for key, r := range reasons {
			if now.After(r.until) {
				delete(reasons, key)
			}
		}
	}
}

func (m *memory) expire(key principals.Key, p *principal, now time.Time) {
	for id, e := range p.sessions {
		if !e.Expires.After(now) {
			delete(p.sessions, id)
		}
	}
	if len(p.sessions) == 0 {
		delete(m.entries, key)
	}
}

const mostLife = 10 * 365 * 24 * time.Hour

func (m *memory) put(e principals.Entry, now time.Time) {
	p := m.entries[e.Key]
	if p == nil {
		p = &principal{name: e.Principal, sessions: map[string]principals.Entry{}}
		m.entries[e.Key] = p
	}
	if e.TTL <= 0 { // it never expires
		e.TTL = mostLife
	}
	e.Expires = now.Add(e.TTL)
	p.sessions[e.ID] = e
	if e.Expires.After(m.last) {
		m.last = e.Expires
	}
}

func (m *memory) Enter(_ context.Context, entry principals.Entry, others int) (principals.Entered, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.sweep(now)
	entered := principals.Entered{Own: m.own[entry.Key].Nonce, All: m.all.Nonce}
	if others > 0 {
		all := slices.DeleteFunc(m.list(entry.Key, now), func(e principals.Entry) bool { return e.ID == entry.ID && e.Tag == entry.Tag })
		slices.SortFunc(all, principals.Entry.Compare)
		entered.Others = all[:min(len(all), others)]
		entered.More = len(all) - len(entered.Others)
	}
	m.put(entry, now)
	return entered, nil
}

func (m *memory) Touch(_ context.Context, entries []principals.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.sweep(now)
	for _, e := range entries {
		m.put(e, now)
	}
	return nil
}

func (m *memory) Leave(_ context.Context, entries []principals.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		p := m.entries[e.Key]
		if p == nil || p.sessions[e.ID].Tag != e.Tag {
			continue
		}
		delete(p.sessions, e.ID)
		if len(p.sessions) == 0 {
			delete(m.entries, e.Key)
		}
	}
	return nil
}

func (m *memory) Entries(_ context.Context, key principals.Key, after principals.Entry, most int) ([]principals.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entries := slices.DeleteFunc(m.list(key, time.Now()), func(e principals.Entry) bool { return e.Compare(after) <= 0 })
	slices.SortFunc(entries, principals.Entry.Compare)
	return entries[:min(len(entries), most)], nil
}

// list is called under mu.
func (m *memory) list(key principals.Key, now time.Time) (all []principals.Entry) {
	p := m.entries[key]
	if p == nil {
		return nil
	}
	m.expire(key, p, now)
	for _, e := range p.sessions {
		e.Age = now.Sub(e.Expires.Add(-e.TTL))
		all = append(all, e)
	}
	return all
}

func (m *memory) Page(_ context.Context, cursor string, size int) (page []principals.Indexed, next string, err error) {
	after, err := hex.DecodeString(cursor)
	if err != nil {
		return nil, "", ErrCursor
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var keys []principals.Key
	for key, p := range m.entries {
		if m.expire(key, p, now); len(p.sessions) > 0 && string(key[:]) > string(after) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b principals.Key) int { return cmp.Compare(string(a[:]), string(b[:])) })
	if len(keys) > size {
		keys = keys[:size]
		next = hex.EncodeToString(keys[size-1][:])
	}
	for _, key := range keys {
		page = append(page, principals.Indexed{Principal: m.entries[key].name, Sessions: len(m.entries[key].sessions)})
	}
	return page, next, nil
}

func (m *memory) Count(context.Context) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for key, p := range m.entries {
		m.expire(key, p, now)
	}
	return len(m.entries), nil
}

func (m *memory) Mark(_ context.Context, key principals.Key, mark principals.Mark, lasts time.Duration) (principals.Mark, error) {
	defer m.notify()
	m.mu.Lock()
	defer m.mu.Unlock()
	mark = mark.After(m.own[key].Mark)
	m.own[key] = memoryMark{mark, m.until(lasts)}
	return mark, nil
}

func (m *memory) MarkAll(_ context.Context, mark principals.Mark, lasts time.Duration) error {
	defer m.notify()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = memoryMark{mark, m.until(lasts)}
	return nil
}

func (m *memory) MarkEnded(_ context.Context, entry principals.Entry, reason principals.Reason, lasts time.Duration) error {
	defer m.notify()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended[entry.Tag] = memoryReason{reason, m.until(lasts)}
	return nil
}

// until is the moment up to which a mark lasts: it outlives all sessions. It is called under mu.
func (m *memory) until(lasts time.Duration) time.Time {
	until := time.Now().Add(lasts)
	if until.Before(m.last) {
		return m.last
	}
	return until
}

// notify is called without the lock, after a mark was set.
func (m *memory) notify() {
	if m.changed != nil {
		m.changed()
	}
}

func (m *memory) Marks(_ context.Context, shards []int) ([]principals.Marks, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	marks := principals.Marks{All: m.all.Mark, Own: map[principals.Key]principals.Mark{}, Ended: map[string]principals.Reason{}}
	for key, mark := range m.own {
		marks.Own[key] = mark.Mark
	}
	for tag, r := range m.ended {
		marks.Ended[tag] = r.reason
	}
	return slices.Repeat([]principals.Marks{marks}, len(shards)), nil
}

func (m *memory) Shards() int                                    { return 1 }
func (m *memory) ShardOf(principals.Key) int                     { return 0 }
func (m *memory) Node(int) string                                { return "" }
func (m *memory) ShardOfInvalidated(string) (shard int, ok bool) { return 0, false }

func (m *memory) Because(_ context.Context, ids []string, reason principals.Reason, lasts time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.sweep(now)
	for _, id := range ids {
		m.reasons[id] = memoryReason{reason, now.Add(lasts)}
	}
	return nil
}

func (m *memory) ReasonOf(_ context.Context, id string) (principals.Reason, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.reasons[id]; time.Now().Before(r.until) {
		return r.reason, nil
	}
	return "", nil
}

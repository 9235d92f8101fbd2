package layertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
)

// Each of these breaks one law, and little else, of the storage that it embeds.

// retypes gives text where there was none, in every other read.
type retypes struct {
	gsession.Storage
	mu   sync.Mutex
	seen map[string]bool
}

func (r *retypes) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	m, err := r.Storage.GetSession(ctx, id, ttl)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[id] = !r.seen[id]; m == nil || r.seen[id] {
		return m, err
	}
	for key, value := range m.Map() {
		m.Set(key, fmt.Sprint(value))
	}
	return m, err
}

// invents finds a session everywhere.
type invents struct{ gsession.Storage }

func (i invents) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	m, err := i.Storage.GetSession(ctx, id, ttl)
	if m == nil && err == nil {
		m = gmap.NewStrAnyMap(true)
	}
	return m, err
}

// enables accepts calls that the store doesn't take.
type enables struct{ gsession.Storage }

func (enables) Set(context.Context, string, string, any, time.Duration) error { return nil }

// shares hands one map to all requests of a session.
type shares struct {
	gsession.Storage
	mu   sync.Mutex
	maps map[string]*gmap.StrAnyMap
}

func (s *shares) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.maps[id]; m != nil {
		return m, nil
	}
	m, err := s.Storage.GetSession(ctx, id, ttl)
	if m != nil {
		s.maps[id] = m
	}
	return m, err
}

func (s *shares) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.maps, id)
	return s.Storage.SetSession(ctx, id, m, ttl)
}

// caches keeps sessions for good, with whatever is nested in them: writes of its own
// node renew it if notices is set, and those of others never.
type caches struct {
	gsession.Storage
	notices bool
	mu      sync.Mutex
	cached  map[string]map[string]any
}

func (c *caches) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data := c.cached[id]
	if data == nil {
		m, err := c.Storage.GetSession(ctx, id, ttl)
		if err != nil || m == nil {
			return m, err
		}
		data = m.Map()
		c.cached[id] = data
	}
	return gmap.NewStrAnyMapFrom(maps.Clone(data), true), nil
}

func (c *caches) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.notices {
		delete(c.cached, id)
	}
}

func (c *caches) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	defer c.forget(id)
	return c.Storage.SetSession(ctx, id, m, ttl)
}

func (c *caches) RemoveAll(ctx context.Context, id string) error {
	defer c.forget(id)
	return c.Storage.RemoveAll(ctx, id)
}

// overwrites saves what a request holds as a whole, as GoFrame's own stores do.
type overwrites struct{ gsession.Storage }

func (o overwrites) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	return o.Storage.SetSession(ctx, id, gmap.NewStrAnyMapFrom(m.Map(), true), ttl)
}

// swallows hides that a write has failed.
type swallows struct{ gsession.Storage }

func (s swallows) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	_ = s.Storage.SetSession(ctx, id, m, ttl)
	return nil
}

// drops takes a cancelled request's write for done.
type drops struct{ gsession.Storage }

func (d drops) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if ctx.Err() != nil {
		return nil
	}
	return d.Storage.SetSession(ctx, id, m, ttl)
}

// hurries lets sessions end in a third of their time, and stands still keeps them.
type hurries struct{ gsession.Storage }

func (h hurries) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	return h.Storage.SetSession(ctx, id, m, ttl/3)
}

type lingers struct{ gsession.Storage }

func (l lingers) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	return l.Storage.SetSession(ctx, id, m, 10*time.Hour)
}

// stands doesn't slide the expiry.
type stands struct{ gsession.Storage }

func (stands) UpdateTTL(context.Context, string, time.Duration) error { return nil }

// leaky starts a goroutine that nobody ends.
func leaky(s gsession.Storage, forever <-chan struct{}) gsession.Storage {
	go func() { <-forever }()
	return s
}

// closes fails what comes after its Close.
type closes struct {
	gsession.Storage
	mu     sync.Mutex
	closed bool
}

func (c *closes) Close(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *closes) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errors.New("closed")
	}
	return c.Storage.SetSession(ctx, id, m, ttl)
}

// leaks puts the id into its errors.
type leaks struct{ gsession.Storage }

func (t leaks) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if err := t.Storage.SetSession(ctx, id, m, ttl); err != nil {
		return fmt.Errorf("session %s: %w", id, err)
	}
	return nil
}

// forgets loses the session whose id changes.
type forgets struct {
	gsession.Storage
	mu    sync.Mutex
	known map[string]bool
}

func (f *forgets) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[id] = true
	return f.Storage.GetSession(ctx, id, ttl)
}

func (f *forgets) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	f.mu.Lock()
	known := f.known[id]
	f.mu.Unlock()
	if !known {
		m = gmap.NewStrAnyMap(true)
	}
	return f.Storage.SetSession(ctx, id, m, ttl)
}

// joins adds a program's map to a session that a read before found missing.
type joins struct {
	gsession.Storage
	mu     sync.Mutex
	absent map[string]int
}

func (j *joins) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	m, err := j.Storage.GetSession(ctx, id, ttl)
	if m == nil && err == nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.absent[id]++
	}
	return m, err
}

func (j *joins) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	j.mu.Lock()
	joined := j.absent[id] > 0
	j.absent[id]--
	j.mu.Unlock()
	if there, err := j.Storage.GetSession(ctx, id, ttl); err == nil && there != nil && joined {
		there.Sets(m.Map())
		m = there
	}
	return j.Storage.SetSession(ctx, id, m, ttl)
}

// repeats takes a map that comes again as it was for GoFrame's second close.
type repeats struct {
	gsession.Storage
	mu      sync.Mutex
	written map[*gmap.StrAnyMap]string
}

func (r *repeats) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	r.mu.Lock()
	text := fmt.Sprint(m.Map())
	again := r.written[m] == text
	r.written[m] = text
	r.mu.Unlock()
	if again {
		return nil
	}
	return r.Storage.SetSession(ctx, id, m, ttl)
}

// touches writes to the store although a value can't be saved.
type touches struct{ gsession.Storage }

func (t touches) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	err := t.Storage.SetSession(ctx, id, m, ttl)
	if err != nil {
		_ = t.Storage.UpdateTTL(ctx, id, ttl)
	}
	return err
}

// spoils makes a session that a value was refused of unreadable.
type spoils struct {
	gsession.Storage
	mu      sync.Mutex
	spoiled map[string]bool
}

func (s *spoils) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	err := s.Storage.SetSession(ctx, id, m, ttl)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoiled[id] = err != nil
	return err
}

func (s *spoils) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spoiled[id] {
		return nil, errors.New("exceeded max depth")
	}
	return s.Storage.GetSession(ctx, id, ttl)
}

// closed is what was known of maps at their last close. mu guards outcomes.
type closed struct {
	gsession.Storage
	mu       sync.Mutex
	outcomes map[*gmap.StrAnyMap]error
}

func (c *closed) before(m *gmap.StrAnyMap) (outcome error, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	outcome, again = c.outcomes[m]
	return outcome, again
}

func (c *closed) close(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	err := c.Storage.SetSession(ctx, id, m, ttl)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[m] = err
	return err
}

// alarms reports a revoked write at the second close of what has been saved.
type alarms struct{ *closed }

func (a alarms) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if outcome, again := a.before(m); again && outcome == nil {
		return layer.ErrRevoked
	}
	return a.close(ctx, id, m, ttl)
}

// relents accepts at the second close what it has refused at the first.
type relents struct{ *closed }

func (r relents) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if outcome, _ := r.before(m); outcome != nil {
		return nil
	}
	return r.close(ctx, id, m, ttl)
}

// revives writes at the second close what the map holds, whatever has happened since.
type revives struct{ *closed }

func (r revives) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if outcome, again := r.before(m); again {
		_ = r.Storage.SetSession(ctx, id, gmap.NewStrAnyMapFrom(m.Map(), true), ttl)
		return outcome
	}
	return r.close(ctx, id, m, ttl)
}

// asks goes to the store again for what was refused.
type asks struct{ *closed }

func (a asks) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if outcome, _ := a.before(m); outcome != nil {
		_ = a.RemoveAll(ctx, id)
	}
	return a.close(ctx, id, m, ttl)
}

// shows holds what was written where a dump finds it.
type shows struct {
	gsession.Storage
	mu   sync.Mutex
	held map[string]map[string]any
}

func (s *shows) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	s.mu.Lock()
	s.held = map[string]map[string]any{id: m.Map()}
	s.mu.Unlock()
	return s.Storage.SetSession(ctx, id, m, ttl)
}

// sprawls has much that a dump walks through.
type sprawls struct {
	gsession.Storage
	buckets [2000]struct{ hits, misses int }
}

// mangles makes text of keys that aren't.
type mangles struct{ gsession.Storage }

func (s mangles) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	m, err := s.Storage.GetSession(ctx, id, ttl)
	if m == nil || err != nil {
		return m, err
	}
	for key, value := range m.Map() {
		m.Remove(key)
		m.Set(strings.ToValidUTF8(key, "?"), value)
	}
	return m, nil
}

// encodes holds what it has encoded itself, and serves it. mu guards encoded.
type encodes struct {
	gsession.Storage
	mu      sync.Mutex
	encoded map[string][]byte
}

func (s *encodes) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if text, err := json.Marshal(m.Map()); err == nil {
		s.mu.Lock()
		s.encoded[id] = text
		s.mu.Unlock()
	}
	return s.Storage.SetSession(ctx, id, m, ttl)
}

func (s *encodes) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var data map[string]any
	if err := json.Unmarshal(s.encoded[id], &data); err != nil {
		return s.Storage.GetSession(ctx, id, ttl)
	}
	return gmap.NewStrAnyMapFrom(data, true), nil
}

// insists writes again what may have been written.
type insists struct{ gsession.Storage }

func (s insists) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	err := s.Storage.SetSession(ctx, id, m, ttl)
	if err != nil {
		return s.Storage.SetSession(ctx, id, gmap.NewStrAnyMapFrom(m.Map(), true), ttl)
	}
	return nil
}

// compares takes a session for the one that it handed out if both hold the same. mu guards given.
type compares struct {
	gsession.Storage
	mu    sync.Mutex
	given map[*gmap.StrAnyMap]string
}

func (s *compares) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	m, err := s.Storage.GetSession(ctx, id, ttl)
	if m != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.given[m] = fmt.Sprint(m.Map())
	}
	return m, err
}

func (s *compares) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	there, err := s.Storage.GetSession(ctx, id, ttl)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && there != nil && s.given[m] == fmt.Sprint(there.Map()) {
		m = gmap.NewStrAnyMapFrom(m.Map(), true)
	}
	return s.Storage.SetSession(ctx, id, m, ttl)
}

// buries takes a session for removed whose removal has failed. mu guards buried.
type buries struct {
	gsession.Storage
	mu     sync.Mutex
	buried map[string]bool
}

func (s *buries) RemoveAll(ctx context.Context, id string) error {
	s.mu.Lock()
	s.buried[id] = true
	s.mu.Unlock()
	return s.Storage.RemoveAll(ctx, id)
}

func (s *buries) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buried[id] {
		return layer.ErrRevoked
	}
	return s.Storage.SetSession(ctx, id, m, ttl)
}

// spreads has one session's panic in the next one's write. mu guards panicked.
type spreads struct {
	gsession.Storage
	mu       sync.Mutex
	panicked any
}

func (s *spreads) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.panicked; p != nil {
		s.panicked = nil
		panic(p)
	}
	func() {
		defer func() { s.panicked = recover() }()
		_, _ = json.Marshal(m.Map())
	}()
	return s.Storage.SetSession(ctx, id, m, ttl)
}

// objects has an error for an id that is no name.
type objects struct{ gsession.Storage }

func (s objects) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if strings.Contains(id, "/") {
		return nil, errors.New("no such folder")
	}
	return s.Storage.GetSession(ctx, id, ttl)
}

// ends takes a ttl of 0 for one that is over.
type ends struct{ gsession.Storage }

func (s ends) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if ttl <= 0 {
		return s.RemoveAll(ctx, id)
	}
	return s.Storage.SetSession(ctx, id, m, ttl)
}

// remains serves what it holds when the storage below is closed.
type remains struct{ *caches }

func (s remains) Close(ctx context.Context) error {
	return s.Storage.(interface{ Close(context.Context) error }).Close(ctx)
}

// adopts holds the maps that it was given, with what is nested in them. mu guards given.
type adopts struct {
	gsession.Storage
	mu    sync.Mutex
	given map[string]map[string]any
}

func (s *adopts) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	s.mu.Lock()
	s.given[id] = m.Map()
	s.mu.Unlock()
	return s.Storage.SetSession(ctx, id, m, ttl)
}

func (s *adopts) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data := s.given[id]; data != nil {
		return gmap.NewStrAnyMapFrom(maps.Clone(data), true), nil
	}
	return s.Storage.GetSession(ctx, id, ttl)
}

// skims takes a nested map for what it was.
type skims struct{ gsession.Storage }

func (s skims) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if there, err := s.Storage.GetSession(ctx, id, ttl); err == nil && there != nil {
		for key, value := range there.Map() {
			if _, nested := value.(map[string]any); nested {
				m.Set(key, value)
			}
		}
	}
	return s.Storage.SetSession(ctx, id, m, ttl)
}

// empties leaves an empty session behind where one was removed.
type empties struct{ gsession.Storage }

func (s empties) RemoveAll(ctx context.Context, id string) error {
	if err := s.Storage.RemoveAll(ctx, id); err != nil {
		return err
	}
	return s.Storage.SetSession(ctx, id, gmap.NewStrAnyMap(true), time.Hour)
}

// catches takes a panic for a success.
type catches struct{ gsession.Storage }

func (s catches) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	defer func() { _ = recover() }()
	return s.Storage.SetSession(ctx, id, m, ttl)
}

// trims makes names of ids.
type trims struct{ gsession.Storage }

func (s trims) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	return s.Storage.GetSession(ctx, strings.Trim(id, "./ \n\x00"), ttl)
}

// hoards has a close that saves nothing. mu guards held.
type hoards struct {
	gsession.Storage
	mu   sync.Mutex
	held map[string]*gmap.StrAnyMap
}

func (s *hoards) SetSession(_ context.Context, id string, m *gmap.StrAnyMap, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[id] = m
	return nil
}

func (s *hoards) Close(context.Context) error { return nil }

// overflows computes with a ttl what can't be computed.
type overflows struct{ gsession.Storage }

func (s overflows) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if ttl > 10*365*24*time.Hour {
		ttl = time.Nanosecond
	}
	return s.Storage.SetSession(ctx, id, m, ttl)
}

// wipes removes what is there ahead of each write.
type wipes struct{ gsession.Storage }

func (s wipes) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if err := s.RemoveAll(ctx, id); err != nil {
		return err
	}
	return s.Storage.SetSession(ctx, id, gmap.NewStrAnyMapFrom(m.Map(), true), ttl)
}

package coalesce

import (
	"context"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// view is what a read must lay over the store's answer: the lane with its changes as
// they were before the store was asked.
type view struct {
	id      string
	lane    *lane
	changes []change
	tickets []ticket // until the caches were told
}

// leave ends what the view has begun, unless the caches were told.
func (l *lanes) leave(v *view) {
	if len(v.tickets) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.caches.end(v.id, v.tickets)
	v.tickets = nil
}

// change is what one batch adds to what the store answers.
type change struct {
	b     *batch
	delta *tiers.Delta
}

// before answers what a read must show, and waits for what it can't: writes that a
// caller has left, as it was told that they may yet be applied; what the journal
// brought; and values of which only the store knows what it makes of them.
func (l *lanes) before(ctx context.Context, id string) (*view, error) {
	late, cancel := context.Context(nil), context.CancelFunc(nil)
	for {
		v, wait := l.look(id)
		if len(wait) == 0 {
			return v, nil
		}
		if late == nil {
			late, cancel = context.WithTimeout(ctx, l.timeout)
			defer cancel()
		}
		for _, b := range wait {
			select {
			case <-b.done:
			case <-late.Done():
				if ctx.Err() == nil {
					return v, errWaits
				}
				return v, ctx.Err()
			}
		}
	}
}

var errWaits = tiers.NewError("strata: the store didn't take what waits for this session in time", context.DeadlineExceeded)

func (l *lanes) look(id string) (v *view, wait []*batch) {
	v = &view{id: id}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.lanes[id]
	if k == nil {
		return v, nil
	}
	k.each(func(b *batch) {
		switch {
		case b.hold == nil:
			if b.left.Load() {
				wait = append(wait, b)
			}
		case !b.delta.Shows(): // nor does one from the journal
			wait = append(wait, b)
		default:
			v.changes = append(v.changes, change{b: b, delta: b.delta})
		}
	})
	switch {
	case len(wait) > 0:
		l.hasten(k, true)
	case len(v.changes) > 0:
		v.lane, v.tickets = k, l.caches.begin(id)
	}
	return v, wait
}

// rereads is how often a read is repeated because a change was committed meanwhile.
const rereads = 3

// Load lays the changes that wait over what the store answers.
func (s *Storage) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	for tries := 0; ; tries++ {
		read, v, ok, err := s.try(ctx, id, ttl)
		if ok || err != nil {
			return read, err
		}
		if tries == rereads {
			for _, c := range v.changes {
				if !c.b.failed() {
					read.Snapshot = c.delta.Show(read.Snapshot)
				}
			}
			read.Outcome = tiers.OutcomePending
			return read, nil
		}
	}
}

// try isn't ok where something was committed while the store was asked.
func (s *Storage) try(ctx context.Context, id string, ttl time.Duration) (_ tiers.Read, v *view, ok bool, err error) {
	if v, err = s.lanes.before(ctx, id); err != nil {
		return tiers.Read{}, v, false, err
	}
	defer s.lanes.leave(v)
	began, forgets := time.Now(), s.slides.clock()
	read, err := s.inner.Load(ctx, id, ttl)
	if err != nil {
		return tiers.Read{}, v, false, err
	}
	read, ok = s.under(v, read, ttl, began, forgets)
	return read, v, ok, nil
}

// under lays a view over what the store has answered.
func (s *Storage) under(v *view, read tiers.Read, ttl time.Duration, began time.Time, forgets uint64) (_ tiers.Read, ok bool) {
	if s.options.interval > 0 && read.Snapshot != nil && read.Snapshot.Read().IsZero() {
		read.Snapshot = read.Snapshot.ReadAt(began)
	}
	if len(v.changes) == 0 {
		s.learn(v.id, read, forgets)
		return read, true
	}
	if shown, ok := s.lanes.overlay(v, read.Snapshot, ttl); ok {
		return tiers.Read{Snapshot: shown, Outcome: tiers.OutcomePending}, true
	}
	return read, false
}

// learn notes the expiry that a load has told.
func (s *Storage) learn(id string, read tiers.Read, forgets uint64) {
	if read.Snapshot == nil {
		return
	}
	if at, known := read.Snapshot.Expires(); known {
		s.slides.learn(id, at, forgets)
	}
}

// overlay lays what waits by now over what the store has answered, and tells the caches.
// It fails where something was committed meanwhile: the store may have answered with it,
// and with what other nodes have changed since, or without.
func (l *lanes) overlay(v *view, stored *tiers.Snapshot, ttl time.Duration) (shown *tiers.Snapshot, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := v.lane
	if l.lanes[k.id] != k {
		return nil, false
	}
	for _, c := range v.changes {
		select {
		case <-c.b.done:
			return nil, false
		default:
		}
	}
	shown, ok = stored, true
	k.each(func(b *batch) {
		if b.hold == nil {
			return // a removal, or a write whose caller still waits
		}
		if ok = ok && b.delta.Shows(); ok {
			shown = b.delta.Show(shown)
		}
	})
	if !ok {
		return nil, false
	}
	if shown != nil {
		shown = shown.Tell()
	}
	k.shown = shown
	l.caches.became(k.id, ttl, v.tickets, shown)
	v.tickets = nil
	return shown, true
}

// failed reports whether the batch has ended without being applied.
func (b *batch) failed() bool {
	select {
	case <-b.done:
		return b.err != nil
	default:
		return false
	}
}

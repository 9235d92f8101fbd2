package coalesce

import (
	"context"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// change is what one batch adds to what the store answers.
type change struct {
	b     *batch
	delta *tiers.Delta
}

// before answers the changes that a read must show, and waits for those that it can't:
// writes that a caller has left, as it was told that they may yet be applied; what the
// journal brought; and values of which only the store knows what it makes of them.
func (l *lanes) before(ctx context.Context, id string) ([]change, error) {
	late, cancel := context.Context(nil), context.CancelFunc(nil)
	for {
		changes, wait := l.changes(id)
		if len(wait) == 0 {
			return changes, nil
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
					return nil, errWaits
				}
				return nil, ctx.Err()
			}
		}
	}
}

var errWaits = tiers.NewError("strata: the store didn't take what waits for this session in time", context.DeadlineExceeded)

func (l *lanes) changes(id string) (changes []change, wait []*batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.lanes[id]
	if k == nil {
		return nil, nil
	}
	look := func(b *batch) {
		switch {
		case b.hold == nil:
			if b.left.Load() {
				wait = append(wait, b)
			}
		case b.hold.restored || !b.delta.Shows():
			wait = append(wait, b)
		default:
			b.hold.read = true
			changes = append(changes, change{b: b, delta: b.delta})
		}
	}
	if k.flying != nil {
		look(k.flying)
	}
	for _, b := range k.waiting {
		look(b)
	}
	if len(wait) > 0 {
		l.hasten(k)
	}
	return changes, wait
}

// rereads is how often a read is repeated because a change was committed meanwhile.
const rereads = 3

// Load lays the changes that wait over what the store answers.
func (s *Storage) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	for tries := 0; ; tries++ {
		changes, err := s.lanes.before(ctx, id)
		if err != nil {
			return tiers.Read{}, err
		}
		began := time.Now()
		read, err := s.inner.Load(ctx, id, ttl)
		if err != nil {
			return tiers.Read{}, err
		}
		if s.options.interval > 0 && read.Snapshot != nil && read.Snapshot.Read().IsZero() {
			read.Snapshot = read.Snapshot.ReadAt(began)
		}
		if len(changes) == 0 {
			return read, nil
		}
		if tries < rereads && anyLanded(changes) {
			continue
		}
		for _, c := range changes {
			if !c.b.failed() {
				read.Snapshot, read.Outcome = c.delta.Show(read.Snapshot), tiers.OutcomePending
			}
		}
		s.lanes.show(id, changes, read.Snapshot)
		return read, nil
	}
}

func anyLanded(changes []change) bool {
	for _, c := range changes {
		select {
		case <-c.b.done:
			return true
		default:
		}
	}
	return false
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

// show notes what a reader was shown, if that holds all that waits.
func (l *lanes) show(id string, changes []change, shown *tiers.Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.lanes[id]
	if k == nil || k.held != len(changes) {
		return
	}
	for _, c := range changes {
		if c.b.delta != c.delta || c.b.hold == nil {
			return
		}
		select {
		case <-c.b.done:
			return
		default:
		}
	}
	k.shown = shown
}

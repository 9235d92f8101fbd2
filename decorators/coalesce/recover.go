package coalesce

import (
	"context"
	"encoding/json"
	"time"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/journal"
)

// entry is a change as the journal keeps it. The deadline is wall-clock time, in Unix
// milliseconds, as it is read by another process.
type entry struct {
	ID       string       `json:"id"`
	Delta    *tiers.Delta `json:"delta"`
	TTL      int64        `json:"ttl"` // nanoseconds
	Deadline int64        `json:"deadline"`
}

func encode(id string, delta *tiers.Delta, ttl time.Duration) ([]byte, error) {
	content, err := json.Marshal(entry{ID: id, Delta: delta, TTL: int64(ttl), Deadline: time.Now().Add(ttl).UnixMilli()})
	if err != nil {
		return nil, errUnkept
	}
	return content, nil
}

var (
	errUnkept  = tiers.NewError("strata: a session value can't be encoded as JSON, which the journal needs", nil)
	errDamaged = tiers.NewError("strata: a record of the journal is damaged", nil)
	errExpired = tiers.NewError("strata: the session expired before the journal was read again", nil)
)

// restore opens the journal and lets what it holds go to the store.
func (s *Storage) restore(dir string) error {
	j, records, damaged, err := journal.Open(dir)
	if err != nil {
		return err
	}
	s.lanes.journal = j
	for range damaged {
		s.lanes.gaveUp(GiveUp{Changes: 1, Cause: errDamaged})
	}
	for _, r := range records {
		if err := s.lanes.again(r); err != nil {
			j.Drop([]uint64{r.Entry})
			s.lanes.gaveUp(GiveUp{Changes: 1, Cause: err})
		}
	}
	return nil
}

// again lets one record wait in its lane.
func (l *lanes) again(r journal.Record) error {
	var e struct {
		entry
		Delta json.RawMessage `json:"delta"`
	}
	if err := json.Unmarshal(r.Content, &e); err != nil {
		return errDamaged
	}
	delta, err := tiers.Restore(e.Delta)
	if err != nil {
		return err
	}
	ttl := time.Duration(e.TTL)
	left := min(time.Until(time.UnixMilli(e.Deadline)), ttl) // the wall clock may have been set back
	if left <= 0 {
		return errExpired
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.lane(e.ID, "")
	b := &batch{delta: delta, ttl: ttl, hold: &hold{deadline: now.Add(left), entries: []uint64{r.Entry}}}
	l.enqueue(context.Background(), k, b)
	b.since = now.Add(left - ttl)
	l.arrange(k)
	return nil
}

// synced waits until the journal has let go of what isn't pending any more.
func (l *lanes) synced(ctx context.Context) error {
	if l.journal == nil {
		return nil
	}
	select {
	case err := <-l.journal.Sync():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

package coalesce

import (
	"context"
	"encoding/json"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/tiers"
)

// record is what the journal keeps of a session: what waits of it, in the order in which it
// is applied. It is written anew when a change joins, and when one has left.
type record struct {
	ID      []byte `json:"id"`
	Changes []kept `json:"changes"`
}

// kept is a batch. The deadline is wall-clock time, in Unix milliseconds, as it is read by
// another process.
type kept struct {
	Delta    json.RawMessage `json:"delta"`
	Sent     bool            `json:"sent,omitempty"` // it may have begun the session
	Calls    int             `json:"calls"`
	TTL      int64           `json:"ttl"` // nanoseconds
	Deadline int64           `json:"deadline"`
}

var (
	errDamaged = tiers.NewError("strata: a record of the journal is damaged", nil)
	errExpired = tiers.NewError("strata: the session expired before the journal was read again", nil)
)

const unfit = "strata: layer.Journal needs a store right below that compares what it holds and writes in one step: " +
	"take redisstore, which keeps the bytes and keys of gsession.StorageRedis, or leave the journal out and write synchronously"

// record has the journal keep what waits of the lane's session. The channel, nil without a
// journal, tells when it is on disk. It is called under mu.
func (l *lanes) record(k *lane) (synced <-chan error) {
	if l.journal == nil {
		return nil
	}
	var (
		changes []kept
		deltas  []*tiers.Delta
	)
	keep := func(b *batch) {
		if b.hold == nil {
			return
		}
		c := kept{Sent: b.hold.sent, Calls: b.changes, TTL: int64(b.ttl), Deadline: b.hold.deadline.UnixMilli()}
		changes, deltas = append(changes, c), append(deltas, b.delta)
	}
	k.each(func(b *batch) {
		for _, w := range b.annulled {
			keep(w)
		}
		keep(b)
	})
	switch {
	case len(changes) == 0 && k.entry == 0:
		return nil
	case len(changes) == 0:
		l.journal.Drop(k.entry)
		k.entry = 0
		return nil
	case k.entry == 0:
		k.entry = l.journal.Next()
	}
	return l.journal.Put(k.entry, func() []byte {
		for n := range changes {
			changes[n].Delta, _ = deltas[n].MarshalJSON() // of values that the store could form
		}
		content, _ := json.Marshal(record{ID: []byte(k.id), Changes: changes})
		return content
	})
}

// mark notes on disk that a change which may begin its session goes to the store: it isn't
// begun again by another process, as it may have been removed meanwhile. The attempt waits
// for that. It is called under mu.
func (l *lanes) mark(k *lane, b *batch) {
	if h := b.hold; l.journal != nil && h != nil && !h.sent && b.delta.Begins() {
		h.sent = true
		b.marked = l.record(k)
	}
}

// unmark undoes mark, where the attempt didn't reach the store.
func (l *lanes) unmark(k *lane, b *batch) {
	if h := b.hold; l.journal != nil && h.sent && b.delta.Begins() {
		h.sent = false
		l.record(k)
	}
}

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
		s.lanes.again(r)
	}
	return nil
}

// again lets what a record holds wait in its lane.
func (l *lanes) again(r journal.Record) {
	var old record
	if err := json.Unmarshal(r.Content, &old); err != nil || len(old.Changes) == 0 {
		l.journal.Drop(r.Entry)
		l.gaveUp(GiveUp{Changes: 1, Cause: errDamaged})
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.lane(string(old.ID), "")
	if k.entry != 0 {
		l.journal.Drop(k.entry)
	}
	k.entry = r.Entry
	for _, c := range old.Changes {
		if err := l.restore(k, c); err != nil {
			l.gaveUp(GiveUp{Changes: c.Calls, Cause: err})
			l.record(k)
		}
	}
	l.arrange(k)
}

// restore lets one batch wait.
func (l *lanes) restore(k *lane, c kept) error {
	delta, err := tiers.Restore(c.Delta, c.Sent)
	if err != nil {
		return err
	}
	now, ttl := time.Now(), time.Duration(c.TTL)
	left := min(time.Until(time.UnixMilli(c.Deadline)), ttl) // the wall clock may have been set back
	if left <= 0 {
		return errExpired
	}
	b := &batch{delta: delta, ttl: ttl, hold: &hold{deadline: now.Add(left), sent: c.Sent}}
	l.enqueue(context.Background(), k, b)
	l.room.grow(b, c.Calls-b.changes)
	b.changes, b.since = c.Calls, now.Add(left-ttl)
	return nil
}

// synced waits until the journal holds what is pending and nothing else.
func (l *lanes) synced(ctx context.Context) error {
	if l.journal == nil {
		return nil
	}
	return await(ctx, l.journal.Sync())
}

// forgotten waits until the journal has let go of what was removed.
func (l *lanes) forgotten(ctx context.Context) error {
	if l.journal == nil {
		return nil
	}
	return await(ctx, l.journal.Dropped())
}

func await(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

package coalesce

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/tiers"
)

// records keeps pending writes in the journal; the zero value keeps none. Methods with a queue are called under
// the queues' mutex.
type records struct {
	journal *journal.Journal // nil for none
}

// record is what the journal keeps of a session: what is pending of it, in the order in which it is
// applied. It is written anew when a change joins, and when one has left.
//
// Changes that were given up have a record of their own until they were reported.
type record struct {
	ID      []byte `json:"id,omitempty"`
	Changes []kept `json:"changes,omitempty"`
	Lost    int    `json:"lost,omitempty"`
}

// kept is a write. The deadline is wall-clock time, in Unix milliseconds, as it is read by another
// process.
type kept struct {
	Delta    json.RawMessage `json:"delta"`
	Sent     bool            `json:"sent,omitempty"` // it may have begun the session
	Calls    int             `json:"calls"`
	TTL      int64           `json:"ttl"` // nanoseconds
	Deadline int64           `json:"deadline"`

	delta *tiers.Delta // until it is encoded
}

var (
	errDamaged = tiers.NewError("strata: a record of the journal is damaged", nil)
	errExpired = tiers.NewError("strata: the session expired before the journal was read again", nil)
	errBefore  = tiers.NewError("strata: the process before this one gave changes up, and ended before it had reported that", nil)
)

const unfit = "strata: layer.Journal needs a store right below that compares what it holds and writes in one step: " +
	"take redisstore, which keeps the bytes and keys of gsession.StorageRedis, or leave the journal out and write synchronously"

func (r *records) isOpen() bool { return r.journal != nil }

// keep has the journal keep what is pending of the queue's session. The channel, nil without a
// journal, brings nil when it is on disk.
func (r *records) keep(k *sessionQueue) (synced <-chan error) {
	if r.journal == nil {
		return nil
	}
	var changes []kept
	add := func(w *write) {
		if w.pending {
			changes = append(changes, kept{delta: w.delta, Sent: w.sent, Calls: w.calls, TTL: int64(w.ttl), Deadline: w.deadline.UnixMilli()})
		}
	}
	k.each(func(w *write) {
		for _, annulled := range w.annulled {
			add(annulled)
		}
		add(w)
	})
	switch {
	case len(changes) == 0:
		r.drop(k.entry)
		k.entry = 0
		return nil
	case k.entry == 0:
		k.entry = r.journal.Next()
	}
	return r.journal.Put(k.entry, func() []byte {
		for n, c := range changes {
			changes[n].Delta, _ = c.delta.MarshalJSON() // of values that the store could form
		}
		content, _ := json.Marshal(record{ID: []byte(k.id), Changes: changes})
		return content
	})
}

// marked returns the writes that may go, once the marks of those that begin sessions are on disk.
func (r *records) marked(writes []*write, timeout time.Duration) (may []*write) {
	if !slices.ContainsFunc(writes, func(w *write) bool { return w.marked != nil }) {
		return writes
	}
	ctx, cancel := diskLimit(context.Background(), timeout)
	defer cancel()
	for _, w := range writes {
		var err error
		if w.marked != nil {
			err, w.marked = await(ctx, w.marked), nil
		}
		if err == nil {
			may = append(may, w)
		} else {
			w.err = tiers.NotApplied(err)
		}
	}
	return may
}

var errDisk = tiers.NewError("strata: the journal's disk didn't take what was to be written in time", context.DeadlineExceeded)

// diskLimit bounds how long a request or a write waits for the journal: a disk may hang.
func diskLimit(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, timeout, errDisk)
}

// lose keeps how many changes were given up, in an entry that is new for 0, until that was reported.
func (r *records) lose(entry uint64, changes int) uint64 {
	switch {
	case r.journal == nil:
		return 0
	case entry == 0:
		entry = r.journal.Next()
	}
	r.journal.Put(entry, func() []byte {
		content, _ := json.Marshal(record{Lost: changes})
		return content
	})
	return entry
}

// drop lets go of an entry, if it isn't 0.
func (r *records) drop(entry uint64) {
	if entry != 0 {
		r.journal.Drop(entry)
	}
}

func (r *records) close(ctx context.Context) error {
	if r.journal == nil {
		return nil
	}
	return await(ctx, start(r.journal.Close))
}

// write is the write of the session that a record holds.
func (c kept) write(id string) (*write, error) {
	delta, err := tiers.Restore(c.Delta, c.Sent)
	if err != nil {
		return nil, err
	}
	now, ttl := time.Now(), time.Duration(c.TTL)
	left := min(time.Until(time.UnixMilli(c.Deadline)), ttl) // the wall clock may have been set back
	if left <= 0 {
		return nil, errExpired
	}
	w := writeOf(context.Background(), change{id: id, delta: delta, ttl: ttl, pending: true})
	w.calls, w.since, w.deadline, w.sent = c.Calls, now.Add(left-ttl), now.Add(left), c.Sent
	return w, nil
}

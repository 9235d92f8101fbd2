package coalesce

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/tiers"
)

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

// keep has the journal keep what is pending of the queue's session. The transaction is nil without a journal.
func keep(j *journal.Journal, k *sessionQueue) *journal.Transaction {
	if j == nil {
		return nil
	}
	var changes []kept
	add := func(w *write) {
		if w.pending {
			changes = append(changes, kept{delta: w.delta, Sent: w.sent, Calls: w.calls, TTL: int64(k.ttl), Deadline: k.deadline.UnixMilli()})
		}
	}
	k.each(func(w *write) {
		for _, annulled := range w.annulled {
			add(annulled)
		}
		add(w)
	})
	defer j.Drop(&k.old)
	if len(changes) == 0 {
		j.Drop(&k.entry)
		return nil
	}
	return j.Put(&k.entry, func() []byte {
		for n, c := range changes {
			changes[n].Delta, _ = c.delta.MarshalJSON() // of values that the store could form
		}
		content, _ := json.Marshal(record{ID: []byte(k.id), Changes: changes})
		return content
	})
}

// marked returns the writes that may go, once the marks of those that begin sessions are on disk.
func marked(writes []*write, timeout time.Duration) (may []*write) {
	if !slices.ContainsFunc(writes, func(w *write) bool { return w.marked != nil }) {
		return writes
	}
	ctx, cancel := diskLimit(context.Background(), timeout)
	defer cancel()
	for _, w := range writes {
		var err error
		if w.marked != nil {
			err, _ = w.marked.Wait(ctx)
		}
		if w.marked = nil; err != nil {
			w.err = tiers.NotApplied(err)
			continue
		}
		may = append(may, w)
	}
	return may
}

var errDisk = tiers.NewError("strata: the journal's disk didn't take what was to be written in time", context.DeadlineExceeded)

// diskLimit bounds how long a request or a write waits for the journal: a disk may hang.
func diskLimit(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, timeout, errDisk)
}

// write is the write of the session that a record holds, and the session's deadline.
func (c kept) write(id string) (*write, time.Time, error) {
	delta, err := tiers.Restore(c.Delta, c.Sent)
	if err != nil {
		return nil, time.Time{}, err
	}
	now, ttl := time.Now(), time.Duration(c.TTL)
	left := min(time.Until(time.UnixMilli(c.Deadline)), ttl) // the wall clock may have been set back
	if left <= 0 {
		return nil, time.Time{}, errExpired
	}
	w := writeOf(context.Background(), change{id: id, delta: delta, ttl: ttl, pending: true})
	w.calls, w.since, w.sent = c.Calls, now.Add(left-ttl), c.Sent
	return w, now.Add(left), nil
}

package coalesce

import (
	"encoding/json"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// BreakJournal has the journal refuse records from now on.
func BreakJournal(s *Storage) { _ = s.queues.journal.Close() }

// HangJournal has the journal write nothing until release is called.
func HangJournal(s *Storage) (release func()) {
	hangs := make(chan struct{})
	s.queues.journal.Put(new(uint64), func() []byte { <-hangs; return nil })
	return func() { close(hangs) }
}

// Leave returns when no worker of a closed storage is left.
func Leave(s *Storage) { s.queues.schedule.crew.Wait() }

// Record is what a journal holds of a change.
func Record(id string, delta *tiers.Delta, deadline time.Time) ([]byte, error) {
	content, err := delta.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return json.Marshal(record{ID: []byte(id), Changes: []kept{{Delta: content, Calls: 1, TTL: int64(time.Hour), Deadline: deadline.UnixMilli()}}})
}

// Appointments is how many sessions wait for their time.
func Appointments(s *Storage) int {
	s.queues.mu.Lock()
	defer s.queues.mu.Unlock()
	return len(s.queues.schedule.later) + len(s.queues.schedule.failed)
}

// Removes reports whether a log-out of the session waits for the write that is at the store.
func Removes(s *Storage, id string) (waits bool) {
	s.queues.inspect(id, func(k *sessionQueue) { waits = k.removal() != nil })
	return waits
}

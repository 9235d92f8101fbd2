package tracking_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// liveness bounds the waits for what must happen.
const liveness = 40 * time.Second

// witness is a listener that writes down what it receives. mu guards its fields, and
// changed is closed and replaced at each call; one more call at a time than one is
// counted in overlaps.
type witness struct {
	busy  sync.Mutex
	stall chan struct{} // closed, or a Changed waits; set before use

	mu       sync.Mutex
	news     chan struct{}
	ids      map[string]int
	missed   int
	vouches  int
	until    time.Time
	log      []string
	reasons  []error
	overlaps int
}

func newWitness() *witness {
	return &witness{news: make(chan struct{}), ids: map[string]int{}}
}

func (w *witness) note(what string, change func()) {
	free := w.busy.TryLock()
	w.mu.Lock()
	if !free {
		w.overlaps++
	}
	change()
	if len(w.log) == 0 || w.log[len(w.log)-1] != what {
		w.log = append(w.log, what)
	}
	close(w.news)
	w.news = make(chan struct{})
	w.mu.Unlock()
	if free {
		w.busy.Unlock()
	}
}

func (w *witness) Invalidate(id string) {
	w.note("changed", func() { w.ids[id]++ })
	if w.stall != nil {
		<-w.stall
	}
}
func (w *witness) InvalidateAll() { w.note("missed", func() { w.missed++ }) }
func (w *witness) ValidUntil(until time.Time) {
	what := "vouched"
	if until.IsZero() {
		what = "revoked"
	}
	w.note(what, func() { w.until, w.vouches = until, w.vouches+1 })
}
func (w *witness) Unsupported(reason error) {
	w.note("unsupported", func() { w.reasons = append(w.reasons, reason) })
}

// await waits until the condition holds of what the witness has received.
func (w *witness) await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(liveness)
	defer deadline.Stop()
	for {
		w.mu.Lock()
		met, news := condition(), w.news
		w.mu.Unlock()
		if met {
			return
		}
		select {
		case <-news:
		case <-time.After(10 * time.Millisecond): // the clock may be what is waited for
		case <-deadline.C:
			w.mu.Lock()
			defer w.mu.Unlock()
			t.Fatalf("waited in vain for: %s; notified of %q, missed %d", what, w.log[max(0, len(w.log)-30):], w.missed)
		}
	}
}

func (w *witness) standing(t testing.TB) {
	t.Helper()
	w.await(t, "vouched", func() bool { return time.Now().Before(w.until) })
}

func (w *witness) changes(t testing.TB, id string) {
	t.Helper()
	w.await(t, "a change", func() bool { return w.ids[id] > 0 })
}

// count returns how often all was missed so far.
func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.missed
}

// recovers waits for what follows a loss: after the given number of Missed one more,
// and a vouch that is in force.
func (w *witness) recovers(t testing.TB, missed int) {
	t.Helper()
	w.await(t, "missed and vouched again", func() bool { return w.missed > missed && time.Now().Before(w.until) })
}

// revoked waits until the watcher has noticed a loss.
func (w *witness) revoked(t testing.TB) {
	t.Helper()
	w.await(t, "the end of vouching", func() bool { return w.until.IsZero() && w.vouches > 0 })
}

// sessions are the ids that were notified of, without canaries: if the server takes the two commands of one in two
// turns, the second comes when the first has proved what it was to prove.
func (w *witness) sessions() (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.ids {
		if !strings.HasPrefix(id, "strata-canary-") {
			ids = append(ids, id)
		}
	}
	return ids
}

// forget begins a new account of changes.
func (w *witness) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.ids)
}

// watch is a tracker with one listener, closed when the test ends.
func watch(t testing.TB, client redis.UniversalClient, prefix string, opts ...tracking.Option) (*tracking.Tracker, *witness) {
	t.Helper()
	w := tracking.Start(client, prefix, opts...)
	return w, listen(t, w)
}

// listen is the listener of a tracker, which is closed when the test ends.
func listen(t testing.TB, w *tracking.Tracker) *witness {
	t.Helper()
	l := newWitness()
	w.Subscribe(l)
	t.Cleanup(func() {
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.overlaps > 0 {
			t.Errorf("%d calls came while another was under way", l.overlaps)
		}
	})
	return l
}

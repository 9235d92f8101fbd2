package coalesce_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

// journaled opens a storage whose changes wait in its journal.
func journaled(t *testing.T, s tiers.Storage, dir string, opts ...coalesce.Option) *coalesce.Storage {
	t.Helper()
	c := coalesce.New(s, append(opts, writeBehind(time.Hour), inJournal(dir))...)
	t.Cleanup(func() {
		if store, ok := s.(*teststore.Store); ok {
			store.Refuse(nil)
		}
		_ = c.Close(ctx)
	})
	return c
}

// killed is the journal as it is on disk now: what a process finds that starts after
// this one was killed. A copy that is made in the midst of a transaction is none of that.
func killed(t *testing.T, dir string) (other string) {
	t.Helper()
	poll.Until(t, "a copy of the journal", func() bool {
		content, err := os.ReadFile(filepath.Join(dir, "pending.db"))
		if err != nil {
			t.Fatal(err)
		}
		other = t.TempDir()
		for _, dir := range []string{other, t.TempDir()} {
			if err := os.WriteFile(filepath.Join(dir, "pending.db"), content, 0o600); err != nil {
				t.Fatal(err)
			}
			if dir == other {
				continue
			}
			j, _, _, err := journal.Open(dir)
			if err != nil {
				return false
			}
			_ = j.Close()
		}
		return true
	})
	return other
}

// The next process reads what was accepted, whatever the store holds by then.
func TestTheNextProcessDeliversTheJournal(t *testing.T) {
	number := func(n string) any { return n }
	for name, test := range map[string]struct {
		meanwhile func(s *teststore.Store)
		want      map[string]any // nil: no session
		lost      error
	}{
		"nothing":                      {func(*teststore.Store) {}, map[string]any{"mine": "1", "also": "2", "seed": "0"}, nil},
		"another key":                  {func(s *teststore.Store) { s.Put("a", map[string]any{"seed": "0", "gone": "0", "new": "9"}, ttl) }, map[string]any{"mine": "1", "also": "2", "seed": "0", "new": "9"}, nil},
		"the same key":                 {func(s *teststore.Store) { s.Put("a", map[string]any{"seed": "0", "mine": "9"}, ttl) }, map[string]any{"mine": "9", "also": "2", "seed": "0"}, nil},
		"a key that was removed, anew": {func(s *teststore.Store) { s.Put("a", map[string]any{"seed": "0", "gone": "9"}, ttl) }, map[string]any{"mine": "1", "also": "2", "seed": "0", "gone": "9"}, nil},
		"a log-out":                    {func(s *teststore.Store) { s.Drop("a") }, nil, tiers.ErrRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := teststore.New(), t.TempDir()
			s.Put("a", map[string]any{"seed": number("0"), "gone": "0"}, ttl)
			first := journaled(t, s, dir)
			put(t, first, "a", "mine", "1")
			base := get(t, first, "a")
			data := base.Map()
			delete(data, "gone")
			data["also"] = "2"
			delta, err := tiers.Diff(base, data)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := first.Commit(ctx, "a", delta, ttl); err != nil {
				t.Fatal(err)
			}
			if _, commits, _ := s.Count(); commits != 0 {
				t.Fatal("the change is in the store already")
			}
			test.meanwhile(s)

			lost := make(chan coalesce.GiveUp, 4)
			second := journaled(t, s, killed(t, dir), onGiveUp(func(g coalesce.GiveUp) { lost <- g }))
			got := get(t, second, "a")
			switch {
			case test.want == nil:
				if got != nil {
					t.Errorf("a session that was removed is back: %v", got.Map())
				}
				if g := <-lost; !errors.Is(g.Cause, test.lost) {
					t.Errorf("given up for %v, want %v", g.Cause, test.lost)
				}
			case got == nil || !got.Same(tiers.Adopt(test.want)):
				t.Errorf("the next process finds %v, want %v", got, test.want)
			}
		})
	}
}

// A process that is killed before a report has been made leaves it to the next one.
func TestAReportThatWasNotMadeIsMadeByTheNextProcess(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Put("a", map[string]any{"k": "0"}, ttl)
	reporting, hangs := make(chan struct{}), make(chan struct{})
	first := journaled(t, s, dir, onGiveUp(func(coalesce.GiveUp) { close(reporting); <-hangs }))
	put(t, first, "a", "k", "1")
	put(t, first, "a", "k", "2")
	s.Drop("a")
	if err := first.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	<-reporting
	lost := make(chan coalesce.GiveUp, 4)
	report := onGiveUp(func(g coalesce.GiveUp) { lost <- g })
	second := journaled(t, s, killed(t, dir), report)
	select {
	case g := <-lost:
		if g.Changes != 2 {
			t.Errorf("the next process has reported %d changes, want 2", g.Changes)
		}
	case <-time.After(time.Minute):
		t.Fatal("the next process has reported nothing")
	}
	_ = second.Close(ctx)
	close(hangs)
	if err := first.Close(ctx); err != nil {
		t.Fatal(err)
	}
	_ = journaled(t, s, dir, report).Close(ctx)
	select {
	case g := <-lost:
		t.Errorf("what was reported is reported again: %+v", g)
	default:
	}
}

// A callback that hangs holds up a bounded number of records.
func TestReportsThatWaitAreFewRecords(t *testing.T) {
	s, dir, hangs := teststore.New(), t.TempDir(), make(chan struct{})
	c := journaled(t, s, dir, onGiveUp(func(coalesce.GiveUp) { <-hangs }))
	defer close(hangs)
	const sessions = 200
	for n := range sessions {
		id := fmt.Sprint(n)
		s.Put(id, map[string]any{"k": "0"}, ttl)
		put(t, c, id, "k", "1")
		s.Drop(id)
	}
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	content := recorded(t, dir)
	records, changes := strings.Count(content, `"lost"`), 0
	for _, part := range strings.Split(content, `"lost":`)[1:] {
		n := 0
		_, _ = fmt.Sscan(strings.TrimRight(part, "{}"), &n)
		changes += n
	}
	if changes != sessions || records > 2 { // one that is being reported, and one that waits
		t.Errorf("%d changes in %d records, want %d in 2 at most", changes, records, sessions)
	}
}

// A session that was to begin and hadn't reached the store begins now. Of a replacement
// it isn't known what it replaced, so that it is reported if it isn't there.
func TestTheNextProcessBeginsASessionThatWasNotSent(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Refuse(func(string) error { return errors.New("away") })
	first := journaled(t, s, dir)
	if err := replace(t, first, "whole", "1"); err != nil {
		t.Fatal(err)
	}
	must(t, add(ctx, first, "added", "1"))
	left := ""
	poll.Until(t, "the journal knows that nothing has reached the store", func() bool {
		left = killed(t, dir)
		content := recorded(t, left)
		return content != "" && !strings.Contains(content, `"sent":true`)
	})
	over, cancel := context.WithCancel(ctx)
	cancel()
	_ = first.Close(over) // as killed, or else it could still bring its changes to the store
	s.Refuse(nil)
	lost := make(chan coalesce.GiveUp, 4)
	second := journaled(t, s, left, onGiveUp(func(g coalesce.GiveUp) { lost <- g }))
	if got := get(t, second, "added"); got == nil || got.Get("k") != "1" {
		t.Errorf("the added session is %v", got)
	}
	poll.Until(t, "the replacement is reported", func() bool { return len(lost) > 0 })
	if g := <-lost; !errors.Is(g.Cause, tiers.ErrConflict) {
		t.Errorf("the replacement is given up for %v", g.Cause)
	}
}

// Once it has returned, nothing brings the session back, not even the next process.
func TestRemoveAllEmptiesTheJournal(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Refuse(func(id string) error { return errors.New("away") })
	c := journaled(t, s, dir)
	if err := replace(t, c, "a", "1"); err != nil {
		t.Fatal(err)
	}
	s.Refuse(nil)
	if err := c.RemoveAll(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got := get(t, journaled(t, s, killed(t, dir)), "a"); got != nil {
		t.Errorf("the session is back: %v", got.Map())
	}
}

func TestWhatIsInTheStoreLeavesTheJournal(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Put("a", map[string]any{"k": "0"}, ttl)
	c := journaled(t, s, dir)
	put(t, c, "a", "k", "1")
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	left := killed(t, dir)
	s.Put("a", map[string]any{"k": "0"}, ttl) // another node sets it back
	if got := get(t, journaled(t, s, left), "a"); got.Get("k") != "0" {
		t.Error("a change that had been delivered was delivered again")
	}
}

// keep fills a journal with records, as a process has left it.
func keep(t *testing.T, dir string, records ...[]byte) {
	t.Helper()
	j, _, _, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range records {
		if err, _ := j.Put(new(uint64), func() []byte { return content }).Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// recordOf is the record of a change of session "a".
func recordOf(t *testing.T, delta *tiers.Delta, deadline time.Time) []byte {
	t.Helper()
	content, err := coalesce.Record("a", delta, deadline)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestExpiredAndDamagedRecordsAreReported(t *testing.T) {
	delta, err := tiers.Add(map[string]any{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keep(t, dir, recordOf(t, delta, time.Now().Add(-time.Second)), []byte("damaged"))
	lost, cause := 0, error(nil)
	s := teststore.New()
	c := journaled(t, s, dir, onGiveUp(func(g coalesce.GiveUp) { lost, cause = lost+g.Changes, g.Cause }))
	if got := get(t, c, "a"); got != nil {
		t.Errorf("an expired change brought %v", got.Map())
	}
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if lost != 2 || !strings.Contains(cause.Error(), "damaged") { // the last one
		t.Errorf("reported %d changes lost for %q, want an expired and a damaged record", lost, cause)
	}
}

// A journal that can't be written is no reason to lose a change, nor to keep quiet: the
// request waits for the store.
func TestWithoutItsJournalAWriteIsSynchronous(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": "0"}, ttl)
	c := journaled(t, s, t.TempDir(), writeTimeout(time.Second))
	delta := change(t, get(t, c, "a"), "k", "1")
	coalesce.BreakJournal(c)
	if _, err := c.Commit(ctx, "a", delta, ttl); err != nil {
		t.Fatal(err)
	}
	if read, _ := s.Load(ctx, "a", ttl); read.Snapshot.Get("k") != "1" {
		t.Error("the change is neither in the journal nor in the store")
	}
	s.Refuse(func(string) error { return errors.New("away") })
	if _, err := c.Commit(ctx, "a", change(t, get(t, c, "a"), "k", "2"), ttl); err == nil {
		t.Error("a change that is nowhere was accepted")
	}
}

func TestAJournalInUsePanics(t *testing.T) {
	dir := t.TempDir()
	journaled(t, teststore.New(), dir)
	defer func() {
		if err, ok := recover().(*failure.SetupError); !ok || !strings.Contains(err.Error(), "directory of its own") {
			t.Errorf("panic %v doesn't say what to do", err)
		}
	}()
	journaled(t, teststore.New(), dir)
}

// recorded is what a process would find that starts now.
func recorded(t *testing.T, dir string) string {
	t.Helper()
	j, records, _, err := journal.Open(killed(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	var all strings.Builder
	for _, r := range records {
		all.Write(r.Content)
	}
	return all.String()
}

// A change that may begin its session is noted on disk as sent before it is: a process that
// is killed at that moment doesn't have the next one begin the session again, which may have
// been logged out meanwhile.
func TestABeginningThatWasSentIsNotBegunAgain(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Refuse(func(string) error { return errors.New("away") })
	c := journaled(t, s, dir)
	must(t, add(ctx, c, "a", "1"))
	poll.Until(t, "the journal knows that nothing has reached the store", func() bool {
		content := recorded(t, dir)
		return strings.Contains(content, `"k":"1"`) && !strings.Contains(content, `"sent":true`)
	})
	left := ""
	s.Refuse(func(string) error { left = killed(t, dir); return nil }) // the next attempt is at the store
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	s.Drop("a") // another node's log-out
	lost := make(chan coalesce.GiveUp, 1)
	if got := get(t, journaled(t, s, left, onGiveUp(func(g coalesce.GiveUp) { lost <- g })), "a"); got != nil {
		t.Errorf("the session is back: %v", got.Map())
	}
	poll.Until(t, "the change is reported", func() bool { return len(lost) > 0 })
	if g := <-lost; g.Changes != 1 || !errors.Is(g.Cause, tiers.ErrConflict) {
		t.Errorf("reported %+v", g)
	}
}

// Waiting writes are read while the store takes no writes, also by the next process, and count
// there as they did here.
func TestWhatIsRestoredIsReadAndCounted(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Put("a", map[string]any{"k": "0", "seed": "0"}, ttl)
	first := journaled(t, s, dir)
	for n := range 5 {
		put(t, first, "a", "k", fmt.Sprint(n+1))
	}
	s.Refuse(func(string) error { return errors.New("away") })
	left := killed(t, dir)
	second := journaled(t, s, left)
	if changes, bytes, _ := second.Pending(); changes != 5 || bytes == 0 {
		t.Errorf("%d changes of %d bytes are pending, want 5", changes, bytes)
	}
	if got := get(t, second, "a"); got == nil || got.Get("k") != "5" {
		t.Errorf("read %v while the store takes no writes", got)
	}
	put(t, second, "a", "more", "1")
	third := journaled(t, s, killed(t, left))
	if got := get(t, third, "a"); got == nil || !got.Same(tiers.Adopt(map[string]any{"k": "5", "seed": "0", "more": "1"})) {
		t.Errorf("the process after that reads %v", got)
	}
}

// A flush doesn't wait for what the journal keeps once the chain is closed.
func TestAFlushEndsWithTheChain(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": "0"}, ttl)
	c := journaled(t, s, t.TempDir())
	put(t, c, "a", "k", "1")
	asked := make(chan struct{}, 1)
	s.Refuse(func(string) error {
		select {
		case asked <- struct{}{}:
		default:
		}
		return errors.New("away")
	})
	flushed := make(chan error, 1)
	go func() { flushed <- c.Flush(ctx) }()
	<-asked // as the flush has made it due
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.Close(over); err == nil {
		t.Error("Close returns nil")
	}
	select {
	case err := <-flushed:
		if err == nil || !strings.Contains(err.Error(), "1 changes") {
			t.Errorf("Flush returns %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Flush doesn't return")
	}
}

// Ids are bytes.
func TestAJournalKeepsIDsThatAreNoText(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	const id = "\xff\xfe"
	s.Put(id, map[string]any{"k": "0"}, ttl)
	s.Put("\ufffd\ufffd", map[string]any{"k": "0"}, ttl)
	put(t, journaled(t, s, dir), id, "k", "1")
	second := journaled(t, s, killed(t, dir))
	if err := second.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{id: "1", "\ufffd\ufffd": "0"} {
		if read, _ := s.Load(ctx, id, ttl); read.Snapshot.Get("k") != want {
			t.Errorf("%q holds %v, want %s", id, read.Snapshot.Get("k"), want)
		}
	}
}

// However many changes a session gets in an outage, the file holds what is pending of it.
func TestTheFileStaysNearWhatIsPending(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	c := journaled(t, s, dir)
	const sessions = 64
	for id := range sessions {
		s.Put(fmt.Sprint(id), map[string]any{"k": "", "seed": strings.Repeat("s", 4000)}, ttl)
	}
	s.Refuse(func(string) error { return errors.New("away") })
	var most int64
	for round := range 12 {
		var group sync.WaitGroup
		for id := range sessions {
			group.Go(func() { put(t, c, fmt.Sprint(id), "k", strings.Repeat(fmt.Sprint(round%10), 4000)) })
		}
		group.Wait()
		_, bytes, _ := c.Pending()
		most = max(most, bytes)
	}
	info, err := os.Stat(filepath.Join(dir, "pending.db"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 4*most {
		t.Errorf("a file of %d bytes, and %d were pending at most", info.Size(), most)
	}
	t.Logf("the file is %.2f times what was pending at most", float64(info.Size())/float64(most))
}

// A journal promises what only a store that compares and writes in one step can keep.
func TestAJournalNeedsAStoreThatCompares(t *testing.T) {
	for name, store := range map[string]gsession.Storage{"memory": gsession.NewStorageMemory(), "direct": teststore.NewKeys(nil)} {
		func() {
			defer func() {
				if message, ok := recover().(string); !ok || !strings.Contains(message, "take redisstore") {
					t.Errorf("%s: panic %q doesn't say what to do", name, message)
				}
			}()
			coalesce.New(store, writeBehind(time.Hour), inJournal(t.TempDir()))
		}()
	}
}

// A session that is in use keeps its pending changes, also for the next process.
func TestTheNextProcessKnowsHowLongASessionWasKeptAlive(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Put("a", map[string]any{"k": "0"}, ttl)
	c := journaled(t, s, dir)
	if _, err := c.Commit(ctx, "a", change(t, get(t, c, "a"), "k", "1"), time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Slide(ctx, "a", ttl); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "the journal has the new deadline", func() bool {
		var deadline int64
		if _, after, found := strings.Cut(recorded(t, dir), `"deadline":`); found {
			_, _ = fmt.Sscan(strings.TrimRight(after, "}]"), &deadline)
		}
		return time.Until(time.UnixMilli(deadline)) > ttl/2
	})
}

// A change that waits behind another write is one of what that has left in the store, also for the next process.
func TestTheNextProcessKnowsWhatWasWrittenBefore(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Put("a", map[string]any{"k": "0", "seed": "0"}, ttl)
	c := journaled(t, s, dir)
	base, asked, hold := get(t, c, "a"), make(chan struct{}), make(chan struct{})
	s.Refuse(func(string) error { close(asked); <-hold; return nil })
	landed := make(chan error)
	urgent := change(t, base, "k", "1").AsUrgent()
	go func() {
		_, err := c.Commit(ctx, "a", urgent, ttl)
		landed <- err
	}()
	<-asked
	if _, err := c.Commit(ctx, "a", change(t, base, "k", "2"), ttl); err != nil {
		t.Fatal(err)
	}
	s.Refuse(nil)
	close(hold)
	if err := <-landed; err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "the next process delivers the change", func() bool {
		next := coalesce.New(s, writeBehind(time.Hour), inJournal(killed(t, dir)))
		defer func() { _ = next.Close(ctx) }()
		if err := next.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		read, _ := s.Load(ctx, "a", ttl)
		return read.Snapshot.Get("k") == "2"
	})
}

// A disk that hangs delays callers and workers by no more than the write timeout: a request waits for the store then,
// and a log-out returns an error, as the next process may find the session's changes.
func TestADiskThatHangs(t *testing.T) {
	s := teststore.New()
	c := journaled(t, s, t.TempDir(), writeTimeout(time.Hour))
	for _, id := range []string{"a", "b"} {
		s.Put(id, map[string]any{"k": "0"}, ttl)
	}
	base := get(t, c, "a")
	var asked atomic.Int64
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	s.Refuse(func(string) error { asked.Add(1); <-hold; return nil })
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for n := range 32 {
		if n == 16 {
			poll.Until(t, "all workers are at the store", func() bool { return asked.Load() == 16 })
		}
		_ = add(gone, c, fmt.Sprint("begins", n%16), n) // the second one waits, and is noted before it is sent
	}
	defer coalesce.HangJournal(c)()
	c.Change(writeTimeout(50 * time.Millisecond))
	s.Refuse(nil)
	release()

	within := func(what string, do func() error) (err error) {
		t.Helper()
		returned := make(chan error, 1)
		go func() { returned <- do() }()
		select {
		case err = <-returned:
		case <-time.After(time.Minute):
			t.Fatalf("%s waits for the disk", what)
		}
		return err
	}
	poll.Until(t, "a change arrives", func() bool {
		err := within("a change", func() error { _, err := c.Commit(ctx, "a", change(t, base, "k", "1"), ttl); return err })
		return err == nil // while the workers wait for the disk it may take too long
	})
	if read, _ := s.Load(ctx, "a", ttl); read.Snapshot.Get("k") != "1" {
		t.Error("a change is neither in the journal nor in the store")
	}
	if err := within("a log-out", func() error { return c.RemoveAll(ctx, "b") }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a log-out returns %v", err)
	}
}

// Two records of one session become one that has the changes of both, for the process after that too.
func TestTwoRecordsOfASession(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	seed := tiers.Adopt(map[string]any{"seed": "0"})
	s.Put("a", seed.Map(), ttl)
	var records [][]byte
	for _, key := range []string{"one", "two"} {
		records = append(records, recordOf(t, change(t, seed, key, "1"), time.Now().Add(ttl)))
	}
	keep(t, dir, records...)
	hold := make(chan struct{})
	defer close(hold)
	s.Refuse(func(string) error { <-hold; return nil })
	journaled(t, s, dir)
	poll.Until(t, "there is one record", func() bool { return strings.Count(recorded(t, dir), `"id"`) == 1 })
	left := killed(t, dir)
	s.Refuse(nil)
	second := journaled(t, s, left)
	if got := get(t, second, "a"); got == nil || got.Get("one") != "1" || got.Get("two") != "1" {
		t.Errorf("the next process finds %v", text(got))
	}
}

// The wall clock was set back between two processes: what the journal keeps isn't tried for longer than its ttl.
func TestAJournalFromTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		keep(t, dir, recordOf(t, change(t, tiers.Adopt(map[string]any{"k": "0"}), "k", "1"), time.Now().Add(10*time.Hour)))
		s, lost := teststore.New(), make(chan coalesce.GiveUp, 1)
		s.Refuse(func(string) error { time.Sleep(10 * time.Minute); return errors.New("away") })
		c := coalesce.New(s, writeBehind(time.Second), inJournal(dir), onGiveUp(func(g coalesce.GiveUp) { lost <- g }))
		defer func() { _ = c.Close(ctx) }()
		began := time.Now()
		if g := <-lost; g.Changes != 1 || time.Since(began) > 2*time.Hour { // the ttl of Record
			t.Errorf("gave up %+v after %v", g, time.Since(began))
		}
	})
}

// The process before has ended between a commit, which set what an earlier request wanted, and the slide of a later one.
func TestAChangeThatIsInTheStoreKeepsTheSessionForItsLastRequest(t *testing.T) {
	base := tiers.Adopt(map[string]any{"k": "0"})
	dir, deadline := t.TempDir(), time.Now().Add(30*time.Minute)
	keep(t, dir, recordOf(t, change(t, base, "k", "1"), deadline))
	s := teststore.New()
	s.Put("a", map[string]any{"k": "1"}, 10*time.Minute)
	c := journaled(t, s, dir)
	must(t, c.Flush(ctx))
	if at := s.Expires("a"); at.Before(deadline.Add(-time.Second)) {
		t.Errorf("the session expires %v early", deadline.Sub(at))
	}
	must(t, c.Close(ctx))
}

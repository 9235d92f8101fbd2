package index

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

// watched is a storage whose calls a test follows. committed is called after a commit, the other hooks before
// what they are named after.
// mu guards the other fields.
type watched struct {
	tiers.Storage
	mu              sync.Mutex
	reads           func()
	commits         func()
	committed       func()
	removes         func()
	loads, removals int
}

func (w *watched) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	w.mu.Lock()
	w.loads++
	hook := w.reads
	w.mu.Unlock()
	if hook != nil {
		hook()
	}
	return w.Storage.Load(ctx, id, ttl)
}

func (w *watched) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	w.mu.Lock()
	hook := w.commits
	w.commits = nil
	w.mu.Unlock()
	if hook != nil {
		hook()
	}
	snapshot, err := w.Storage.Commit(ctx, id, delta, ttl)
	w.mu.Lock()
	hook = w.committed
	w.committed = nil
	w.mu.Unlock()
	if hook != nil {
		hook()
	}
	return snapshot, err
}

func (w *watched) RemoveAll(ctx context.Context, id string) error {
	w.mu.Lock()
	w.removals++
	hook := w.removes
	w.mu.Unlock()
	if hook != nil {
		hook()
	}
	return w.Storage.RemoveAll(ctx, id)
}

func watch(s *Storage) *watched {
	w := &watched{Storage: s.Storage}
	s.Storage = w
	return w
}

// put is a log-in of a node without an index.
func put(t *testing.T, s tiers.Storage, id, user string) {
	t.Helper()
	if err := s.SetSession(context.Background(), id, gmap.NewStrAnyMapFrom(map[string]any{"user": user}, true), time.Hour); err != nil {
		t.Error(err)
	}
}

func userUnder(t *testing.T, s *Storage, id string) string {
	t.Helper()
	user, err := open(s, id).Get("user")
	if err != nil {
		t.Fatal(err)
	}
	return user.String()
}

// An entry is left of a session that has ended behind the index's back. Another user has logged in under
// its id since, as GoFrame keeps ids: whatever ends the first one's sessions leaves that one alone.
func TestAnEntryThatIsLeftEndsNobodyElsesSession(t *testing.T) {
	const id = "session-0123456789"
	ctx := context.Background()
	for name, end := range map[string]func(t *testing.T, s *Storage, handle string) error{
		"RevokeAll": func(t *testing.T, s *Storage, _ string) error {
			ids, err := s.Principals().RevokeAll(ctx, "ann", "elsewhere", nil)
			if len(ids) != 0 {
				t.Errorf("%d sessions are said to have ended", len(ids))
			}
			return err
		},
		"Revoke": func(_ *testing.T, s *Storage, handle string) error {
			_, err := s.Principals().Revoke(ctx, handle, "elsewhere")
			return err
		},
		"a limit": func(t *testing.T, s *Storage, _ string) error {
			s.options.Limit = Limit{Most: 1}
			logIn(t, s, "another-0123456789")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := node(t)
			logIn(t, s, id)
			list, _, err := s.Principals().List(ctx, "ann", "", 100)
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			if err := s.Storage.RemoveAll(ctx, id); err != nil {
				t.Fatal(err)
			}
			put(t, s, id, "bob")
			if err := end(t, s, list[0].Handle); err != nil {
				t.Fatal(err)
			}
			if got := userUnder(t, s, id); got != "bob" {
				t.Errorf("the session is now %q's", got)
			}
			if reason, err := s.Principals().ReasonOf(ctx, id); reason != "" || err != nil {
				t.Errorf("a session that lives has ended for %q, %v", reason, err)
			}
			left, _, err := s.Principals().List(ctx, "ann", "", 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range left {
				if l.Entry.ID == id {
					t.Error("the session is listed")
				}
			}
		})
	}
}

// A session is over by a mark. While a request ends it, another one logs in under its id: that session
// stays, whichever comes first.
func TestALogInWhileASessionIsEnded(t *testing.T) {
	const id = "session-0123456789"
	ctx := context.Background()
	for name, when := range map[string]func(w *watched, logIn func()){
		"before": func(_ *watched, logIn func()) { logIn() },
		"while":  func(w *watched, logIn func()) { w.committed, w.removes = logIn, sync.OnceFunc(logIn) },
	} {
		s := node(t)
		logIn(t, s, id)
		old, err := s.Storage.Load(ctx, id, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		endAll(t, s, false)
		w := watch(s)
		when(w, func() {
			if err := w.Storage.RemoveAll(ctx, id); err != nil {
				t.Error(err)
			}
			put(t, w.Storage, id, "bob")
		})
		s.marks.invalidateAll()
		if _, err := s.loaded(ctx, id, time.Hour, old, 0); err != nil {
			t.Fatal(err)
		}
		if got := userUnder(t, s, id); got != "bob" {
			t.Errorf("%s: the session is %q's", name, got)
		}
	}
}

// A session changes its id while it is revoked: it is over under the new one too.
func TestARevokedSessionThatChangesItsID(t *testing.T) {
	const id, next = "session-0123456789", "another-0123456789"
	ctx := context.Background()
	s := node(t)
	logIn(t, s, id)
	handle, err := s.Principals().Handle(ctx, id)
	if err != nil || handle == "" {
		t.Fatal(handle, err)
	}
	read, err := s.Storage.Load(ctx, id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w := watch(s)
	w.removes = sync.OnceFunc(func() {
		err := s.SetSession(ctx, next, gmap.NewStrAnyMapFrom(read.Snapshot.Map(), true), time.Hour)
		if err != nil && !errors.Is(err, tiers.ErrRevoked) {
			t.Error(err)
		}
	})
	if _, err := s.Principals().Revoke(ctx, handle, "elsewhere"); err != nil {
		t.Fatal(err)
	}
	if isAnns(t, s, id) || isAnns(t, s, next) {
		t.Error("the session lives")
	}
}

// Another node that notices the end of a session asks for the reason at once: it is there before.
func TestTheReasonIsThereBeforeTheEnd(t *testing.T) {
	const id = "session-0123456789"
	ctx := context.Background()
	s := node(t)
	logIn(t, s, id)
	endAll(t, s, false)
	s.marks.invalidateAll()
	w, ended := watch(s), false
	var look func()
	look = func() {
		read, err := w.Storage.Load(ctx, id, time.Hour)
		if err == nil && read.Snapshot.Len() > 0 {
			w.mu.Lock()
			w.committed = look // it hasn't ended yet
			w.mu.Unlock()
			return
		}
		ended = true
		if reason, reasonErr := s.Principals().ReasonOf(ctx, id); reason != "elsewhere" || errors.Join(err, reasonErr) != nil {
			t.Errorf("the session has ended, and its reason is %q, %v", reason, errors.Join(err, reasonErr))
		}
	}
	w.committed = look
	if got := userUnder(t, s, id); got != "" || !ended {
		t.Errorf("the session is %q's; it has ended: %t", got, ended)
	}
}

// A limit is introduced while a principal has very many sessions: a log-in ends some of them, the oldest, and the next
// one the others.
func TestALogInUnderANewLimitEndsABoundedPart(t *testing.T) {
	const many = mostTogether + 7
	ctx := context.Background()
	s := node(t)
	for n := range many {
		logIn(t, s, fmt.Sprintf("session-%d-0123456789", n))
	}
	for began := time.Now(); time.Since(began) < 2*time.Millisecond; { // the unit of a session's beginning
	}
	s.options.Limit = Limit{Most: 2}
	for n, want := range []int{many + 1 - mostTogether, 2} {
		logIn(t, s, fmt.Sprintf("new-%d-0123456789", n))
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if list, _, err := s.Principals().List(ctx, "ann", "", many); len(list) != want || err != nil {
			t.Errorf("after %d log-ins %d sessions are listed, %v", n+1, len(list), err)
		}
	}
	if userUnder(t, s, "new-0-0123456789") != "ann" || userUnder(t, s, "new-1-0123456789") != "ann" {
		t.Error("a new session has ended in place of an old one")
	}
	if reason, err := s.Principals().ReasonOf(ctx, "session-9-0123456789"); reason != ReasonDisplaced || err != nil {
		t.Errorf("a session has ended for %q, %v", reason, err)
	}
}

// Entries that are left over of very many sessions take no place of others.
func TestALimitLooksPastSessionsThatAreGone(t *testing.T) {
	const many = 2*mostAtOnce + 7
	ctx := context.Background()
	s := node(t)
	s.options.Limit = Limit{Most: 2, Refuse: true}
	logIn(t, s, "oldest-0123456789")
	gone := make([]principals.Entry, many)
	for n := range gone {
		gone[n] = principals.Entry{Principal: "ann", Key: principals.KeyOf("ann"), ID: fmt.Sprintf("gone-%d-0123456789", n), Tag: newTag(), Begun: time.Now(), TTL: 2 * time.Hour}
	}
	if err := s.indexer.Touch(ctx, gone); err != nil {
		t.Fatal(err)
	}
	for id, e := range s.indexer.(*memory).entries[gone[0].Key].sessions {
		if e.TTL == 2*time.Hour { // an hour later
			e.Expires = e.Expires.Add(-time.Hour)
			s.indexer.(*memory).entries[e.Key].sessions[id] = e
		}
	}
	logIn(t, s, "second-0123456789")
	session := open(s, "third-0123456789")
	if err := errors.Join(session.Set("user", "ann"), session.Close()); !errors.Is(err, ErrLimit) {
		t.Errorf("a third log-in returned %v", err)
	}
	for _, id := range []string{"oldest-0123456789", "second-0123456789"} {
		if userUnder(t, s, id) != "ann" {
			t.Error("a session was ended for one that is gone")
		}
	}
}

// Sessions are listed in pages, each of them once, or twice if it is under two ids while that changes, and
// the end of a page doesn't get lost with its last session.
func TestSessionsAreListedInPages(t *testing.T) {
	const many, size = 25, 4
	ctx := context.Background()
	s := node(t)
	begun := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	twoIDs := map[string]bool{}
	for n := range many {
		r := newRecord("ann", nil)
		r.begun = begun.Add(time.Duration(n/3) * time.Millisecond).UnixMilli() // several begin together
		twoIDs[handleOf(r.entry("", time.Hour))] = n%2 == 1
		for range 1 + n%2 {
			id := newTag() + newTag()
			data := gmap.NewStrAnyMapFrom(map[string]any{"user": "ann", Key: r.String()}, true)
			if err := s.Storage.SetSession(ctx, id, data, time.Hour); err != nil {
				t.Fatal(err)
			}
			if err := s.indexer.Touch(ctx, []principals.Entry{r.entry(id, time.Hour)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var (
		seen = map[string]bool{}
		next string
	)
	for pages := 0; pages == 0 || next != ""; pages++ {
		w := watch(s)
		list, cursor, err := s.Principals().List(ctx, "ann", next, size)
		if err != nil || pages > many {
			t.Fatalf("page %d: %v", pages, err)
		}
		if len(list) < size && cursor != "" || len(list) > size+1 || w.loads > size+1 {
			t.Errorf("page %d has %d sessions and has read %d", pages, len(list), w.loads)
		}
		s.Storage = w.Storage
		here, last := map[string]bool{}, time.Time{}
		for _, l := range list {
			if seen[l.Handle] && !twoIDs[l.Handle] || l.Begun.Before(last) {
				t.Errorf("page %d has a session of before", pages)
			}
			here[l.Handle], last = true, l.Begun
		}
		for handle := range here {
			seen[handle] = true
		}
		if next = cursor; next != "" { // its last session ends
			if _, err := s.Principals().Revoke(ctx, list[len(list)-1].Handle, "elsewhere"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(seen) != many {
		t.Errorf("%d sessions are listed", len(seen))
	}
	for _, cursor := range []string{"x", "1.x", ".", "1", "1.1." + newTag(), "1.1.zz!." + newTag(), "1.-1.1." + newTag(), "1.1.1.1." + newTag()} {
		if _, _, err := s.Principals().List(ctx, "ann", cursor, size); !errors.Is(err, ErrCursor) {
			t.Errorf("%q returned %v", cursor, err)
		}
	}
}

// Over a storage that reads sessions one by one, as a cache does, several are read at the same time.
func TestSessionsAreReadAtTheSameTime(t *testing.T) {
	const few = 4
	s := node(t)
	for n := range few {
		logIn(t, s, fmt.Sprintf("session-%d-0123456789", n))
	}
	w := watch(s)
	var reading sync.WaitGroup
	reading.Add(few)
	all := make(chan struct{})
	go func() { reading.Wait(); close(all) }()
	w.reads = func() {
		reading.Done()
		select {
		case <-all:
		case <-time.After(time.Minute):
			t.Error("a read waits for another one")
		}
	}
	if list, _, err := s.Principals().List(context.Background(), "ann", "", 100); len(list) != few || err != nil {
		t.Errorf("%d are listed, %v", len(list), err)
	}
}

// A storage that panics fails the call, and ends no process.
func TestAPanicBelowIsAnError(t *testing.T) {
	ctx := context.Background()
	s := node(t)
	for n := range 3 {
		logIn(t, s, fmt.Sprintf("session-%d-0123456789", n))
	}
	w := watch(s)
	w.removes = func() { panic("a storage") }
	if _, err := s.Principals().RevokeAll(ctx, "ann", "elsewhere", nil); !errors.Is(err, errPanicked) {
		t.Errorf("RevokeAll returned %v", err)
	}
	w.reads = func() { panic("a storage") }
	if _, _, err := s.Principals().List(ctx, "ann", "", 100); !errors.Is(err, errPanicked) {
		t.Errorf("List returned %v", err)
	}
}

// A visitor's session becomes a user's under its id, as GoFrame keeps ids. A log-in elsewhere takes its place
// before it is committed: then it is over once it is.
func TestALimitEndsALogInThatIsUnderWay(t *testing.T) {
	const id = "session-0123456789"
	ctx := context.Background()
	s := node(t)
	s.options.Limit = Limit{Most: 1}
	visitor := gmap.NewStrAnyMapFrom(map[string]any{"k": "v"}, true)
	if err := s.Storage.SetSession(ctx, id, visitor, time.Hour); err != nil {
		t.Fatal(err)
	}
	w := watch(s)
	w.commits = func() { logIn(t, s, "another-0123456789") }
	logIn(t, s, id)
	if isAnns(t, s, id) || !isAnns(t, s, "another-0123456789") {
		t.Error("two sessions live, or the later one has ended")
	}
}

// Over a direct store each write, each end of sessions and each list says what to do instead, and nothing is written; a store that is away says that.
func TestADirectStoreIsRefused(t *testing.T) {
	const id = "session-0123456789"
	ctx, keys := context.Background(), teststore.NewKeys(nil)
	s := nodeOver(t, keys)
	users := s.Principals()
	_, _, list := users.List(ctx, "ann", "", 10)
	_, _, page := users.Page(ctx, "", 10)
	_, count := users.Count(ctx)
	_, revoke := users.Revoke(ctx, handleOf(principals.Entry{Key: principals.KeyOf("ann"), Tag: newNonce()}), "r")
	_, revokeAll := users.RevokeAll(ctx, "ann", "r", nil)
	for name, err := range map[string]error{
		"List": list, "Page": page, "Count": count, "Revoke": revoke, "RevokeAll": revokeAll, "RevokeEverybody": users.RevokeEverybody(ctx, "r"),
		"Set": s.Set(ctx, id, "user", "ann", time.Hour), "SetMap": s.SetMap(ctx, id, map[string]any{"user": "ann"}, time.Hour),
		"Remove": s.Remove(ctx, id, "user"),
	} {
		if !errors.Is(err, errKeys) || tiers.MayBeApplied(err) {
			t.Errorf("%s returned %v", name, err)
		}
	}
	if data, err := keys.Data(ctx, id); len(data) > 0 || err != nil {
		t.Errorf("%v is there, %v", data, err)
	}
	away := errors.New("away")
	s = nodeOver(t, unreachable{keys, away})
	if err := s.Set(ctx, id, "user", "ann", time.Hour); !errors.Is(err, away) {
		t.Errorf("over a store that is away Set returned %v", err)
	}
}

// unreachable is a store of which it isn't known whether it is direct.
type unreachable struct {
	gsession.Storage
	err error
}

func (u unreachable) Get(context.Context, string, string) (any, error)     { return nil, u.err }
func (u unreachable) Data(context.Context, string) (map[string]any, error) { return nil, u.err }

// A cache above an index in the process isn't notified of its marks: so the caller learns that a session wasn't removed,
// and ends it by trying again.
func TestARemovalThatFailsIsTriedAgain(t *testing.T) {
	ctx := context.Background()
	s := node(t)
	logIn(t, s, "session-0123456789")
	store := s.Storage
	s.Storage = refusing{store}
	if ids, err := s.Principals().RevokeAll(ctx, "ann", "r", nil); err == nil || len(ids) > 0 {
		t.Errorf("%d are ended, %v", len(ids), err)
	}
	s.Storage = store
	if ids, err := s.Principals().RevokeAll(ctx, "ann", "r", nil); err != nil || len(ids) != 1 {
		t.Errorf("%d are ended, %v", len(ids), err)
	}
}

// refusing removes and writes nothing.
type refusing struct{ tiers.Storage }

func (refusing) RemoveAll(context.Context, string) error { return errors.New("away") }

func (refusing) Commit(context.Context, string, *tiers.Delta, time.Duration) (*tiers.Snapshot, error) {
	return nil, tiers.NotApplied(errors.New("away"))
}

// Sessions that a mark has ended take no place of others, though nobody has asked for them since.
func TestALimitLooksPastSessionsThatAreOver(t *testing.T) {
	ctx := context.Background()
	s := node(t)
	s.options.Limit = Limit{Most: 1, Refuse: true}
	logIn(t, s, "old-0123456789")
	if err := s.Principals().RevokeEverybody(ctx, "leak"); err != nil {
		t.Fatal(err)
	}
	logIn(t, s, "new-0123456789")
	if userUnder(t, s, "old-0123456789") != "" || userUnder(t, s, "new-0123456789") != "ann" {
		t.Error("the wrong session is over")
	}
	if reason, err := s.Principals().ReasonOf(ctx, "old-0123456789"); reason != "leak" || err != nil {
		t.Errorf("the old session has ended for %q, %v", reason, err)
	}
}

// A log-in whose entry may have been written, though the reply was lost, takes no place: its user logs in again at once.
func TestALogInThatFailedTakesNoPlace(t *testing.T) {
	ctx := context.Background()
	for name, fail := range map[string]func(s *Storage) (mend func()){
		"a lost reply": func(s *Storage) func() {
			d := &deaf{Index: s.indexer}
			s.indexer = d
			return func() { d.receives.Store(true) }
		},
		"a refused commit": func(s *Storage) func() {
			under := s.Storage
			s.Storage = refusing{under}
			return func() { s.Storage = under }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := node(t)
			s.options.Limit = Limit{Most: 1, Refuse: true}
			mend := fail(s)
			session := open(s, "first-0123456789")
			if err := errors.Join(session.Set("user", "ann"), session.Close()); err == nil {
				t.Fatal("the first log-in succeeded, so that this tests nothing")
			}
			mend()
			if err := s.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			logIn(t, s, "second-0123456789")
		})
	}
}

// deaf enters sessions, and loses the replies until it receives them.
type deaf struct {
	principals.Index
	receives atomic.Bool
}

func (d *deaf) Enter(ctx context.Context, e principals.Entry, others int) (principals.Entered, error) {
	entered, err := d.Index.Enter(ctx, e, others)
	if !d.receives.Load() {
		return principals.Entered{}, errors.New("lost")
	}
	return entered, err
}

// A session that began a moment ago on a node whose clock is behind isn't taken for one that is gone, as it may be
// pending there.
func TestASessionThatIsPendingOnANodeWhoseClockIsBehind(t *testing.T) {
	ctx := context.Background()
	s := node(t)
	s.options.Limit = Limit{Most: 1}
	pending := principals.Entry{Principal: "ann", Key: principals.KeyOf("ann"), ID: "pending-0123456789", Tag: newTag(), Begun: time.Now().Add(-time.Hour), TTL: time.Hour}
	if err := s.indexer.Touch(ctx, []principals.Entry{pending}); err != nil {
		t.Fatal(err)
	}
	if list, _, err := s.Principals().List(ctx, "ann", "", 10); err != nil || len(list) > 0 {
		t.Errorf("%d are listed, %v", len(list), err)
	}
	logIn(t, s, "new-0123456789")
	marks, err := s.indexer.Marks(ctx, []int{0})
	if err != nil || marks[0].Ended[pending.Tag] != ReasonDisplaced {
		t.Errorf("the pending session isn't ended by the limit, %v", err)
	}
}

// crowded is an index that holds more sessions than a log-in is returned.
type crowded struct {
	principals.Index
	more int
}

func (c crowded) Enter(ctx context.Context, e principals.Entry, others int) (principals.Entered, error) {
	entered, err := c.Index.Enter(ctx, e, others)
	entered.More += c.more
	return entered, err
}

// A limit counts the sessions that a log-in isn't returned, except by device class, which isn't known of them.
func TestALimitCountsSessionsThatItDoesNotLookAt(t *testing.T) {
	for limit, refused := range map[Limit]bool{
		{Most: 3, Refuse: true}: true, {Most: 4, Refuse: true}: false, {Most: 3, Refuse: true, PerClass: true}: false,
	} {
		s := node(t)
		logIn(t, s, "first-0123456789")
		s.indexer, s.options.Limit = crowded{s.indexer, 2}, limit
		session := open(s, "second-0123456789")
		if err := errors.Join(session.Set("user", "ann"), session.Close()); errors.Is(err, ErrLimit) != refused || err != nil && !refused {
			t.Errorf("%+v: a log-in returned %v", limit, err)
		}
	}
}

// unwilling is an index that removes no entries at first.
type unwilling struct {
	principals.Index
	refusals atomic.Int32
}

func (u *unwilling) Leave(ctx context.Context, entries []principals.Entry) error {
	if u.refusals.Add(-1) >= 0 {
		return errors.New("away")
	}
	return u.Index.Leave(ctx, entries)
}

// Sessions have ended, and the index can't remove their entries: they take no places once it can.
func TestEntriesThatCouldNotBeRemovedAreRemovedLater(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(s *Storage, handle string) error{
		"RevokeAll": func(s *Storage, _ string) error { _, err := s.Principals().RevokeAll(ctx, "ann", "r", nil); return err },
		"Revoke":    func(s *Storage, handle string) error { _, err := s.Principals().Revoke(ctx, handle, "r"); return err },
		"log-out":   func(s *Storage, _ string) error { return s.RemoveAll(ctx, "session-0123456789") },
	} {
		s := node(t)
		s.options.Limit = Limit{Most: 1, Refuse: true}
		logIn(t, s, "session-0123456789")
		handle, err := s.Principals().Handle(ctx, "session-0123456789")
		if err != nil {
			t.Fatal(err)
		}
		u := &unwilling{Index: s.indexer}
		u.refusals.Store(1)
		s.indexer = u
		if err := end(s, handle); err != nil {
			t.Errorf("%s returned %v", name, err)
		}
		if u.refusals.Load() > 0 {
			t.Errorf("%s removes no entry, so that this tests nothing", name)
		}
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		logIn(t, s, "another-0123456789")
	}
}

package index

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/gogf/gf/v2/util/gconv"

	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/tiers"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// node is an index whose marks in memory are what it has read: invalidations of others' marks are
// under way.
func node(t *testing.T) *Storage {
	t.Helper()
	return nodeOver(t, gsession.NewStorageMemory())
}

// userOf finds whose a session is.
func userOf(data map[string]any) string {
	user, _ := data["user"].(string)
	return user
}

func nodeOver(t *testing.T, store gsession.Storage) *Storage {
	t.Helper()
	s := New(store, userOf, Defaults())
	s.indexer.(*memory).changed = nil
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// logIn is a log-in of ann's.
func logIn(t *testing.T, s *Storage, id string) {
	t.Helper()
	session := open(s, id)
	if err := errors.Join(session.Set("user", "ann"), session.Close()); err != nil {
		t.Fatal(err)
	}
}

func open(s *Storage, id string) *gsession.Session {
	return gsession.New(time.Hour, s).New(context.Background(), id)
}

func isAnns(t *testing.T, s *Storage, id string) bool {
	t.Helper()
	user, err := open(s, id).Get("user")
	if err != nil {
		t.Fatal(err)
	}
	return user.String() == "ann"
}

// endAll has another node end all of ann's sessions.
func endAll(t *testing.T, s *Storage, everybody bool) {
	t.Helper()
	mark := principals.Mark{Nonce: newNonce(), Reason: "elsewhere"}
	var err error
	if everybody {
		err = s.indexer.MarkAll(context.Background(), mark, time.Hour)
	} else {
		_, err = s.indexer.Mark(context.Background(), principals.KeyOf("ann"), mark, time.Hour)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A log-in comes after its principal's sessions were ended on another node, whose mark this one
// doesn't have in memory yet, but one from before: the session isn't over, whatever is done with it.
func TestALogInAfterAMarkThatIsNotInMemoryYet(t *testing.T) {
	const id, next = "session-0123456789", "another-0123456789"
	ctx := context.Background()
	uses := map[string]func(t *testing.T, s *Storage) (id string){
		"read": func(*testing.T, *Storage) string { return id },
		"write": func(t *testing.T, s *Storage) string {
			session := open(s, id)
			if err := errors.Join(session.Set("k", 1), session.Close()); err != nil {
				t.Error(err)
			}
			return id
		},
		"list": func(t *testing.T, s *Storage) string {
			if list, _, err := s.Principals().List(ctx, "ann", "", 100); len(list) != 1 || err != nil {
				t.Errorf("listed are %v, %v", list, err)
			}
			return id
		},
		"change of id": func(t *testing.T, s *Storage) string {
			data, err := s.Storage.Load(ctx, id, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.SetSession(ctx, next, gmap.NewStrAnyMapFrom(data.Snapshot.Map(), true), time.Hour); err != nil {
				t.Error(err)
			}
			return next
		},
	}
	for _, everybody := range []bool{false, true} {
		for name, use := range uses {
			t.Run(name, func(t *testing.T) {
				s := node(t)
				endAll(t, s, everybody)
				logIn(t, s, "before-0123456789")
				if !isAnns(t, s, "before-0123456789") { // reads the mark
					t.Fatal("a log-in after a mark is over")
				}
				endAll(t, s, everybody)
				if err := s.Principals().of.Storage.RemoveAll(ctx, "before-0123456789"); err != nil {
					t.Fatal(err)
				}
				logIn(t, s, id)
				id := use(t, s)
				if !isAnns(t, s, id) {
					t.Error("the session was ended by the mark before")
				}
				endAll(t, s, everybody)
				s.marks.invalidateAll() // the invalidation
				if isAnns(t, s, id) {
					t.Error("the session outlives a mark")
				}
			})
		}
	}
}

// A clock may tick rarely: what was read in the same tick may be from before a mark.
func TestAMarkInTheSameTickOfTheClock(t *testing.T) {
	const id = "session-0123456789"
	synctest.Test(t, func(t *testing.T) {
		s := New(gsession.NewStorageMemory(), userOf, Defaults())
		defer func() {
			if err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		logIn(t, s, id)
		if !isAnns(t, s, id) {
			t.Fatal("a session that lives is over")
		}
		if err := s.Principals().RevokeEverybody(context.Background(), "elsewhere"); err != nil {
			t.Fatal(err)
		}
		if isAnns(t, s, id) {
			t.Error("the session outlives a mark")
		}
	})
}

// cache has an old copy of what it was asked for.
type cache struct {
	tiers.Storage
	old tiers.Read
}

func (c *cache) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	if c.old.Snapshot != nil {
		return c.old, nil
	}
	return c.Storage.Load(ctx, id, ttl)
}

// cached puts a cache below an index, and returns it with a session of ann's as it may keep it.
func cached(t *testing.T, s *Storage, id string) (below *cache, old tiers.Read) {
	t.Helper()
	below = &cache{Storage: s.Storage}
	s.Storage = below
	logIn(t, s, id)
	old, err := below.Storage.Load(t.Context(), id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return below, old
}

// A session that was ended begins anew under its id, as GoFrame has it, while a cache still has the
// old one: a read that finds that over returns the new one.
func TestAnOldCopyOfASessionThatHasBegunAnew(t *testing.T) {
	const id = "session-0123456789"
	ctx := context.Background()
	s := node(t)
	below, old := cached(t, s, id)
	if _, err := s.Principals().RevokeAll(ctx, "ann", "elsewhere", nil); err != nil {
		t.Fatal(err)
	}
	logIn(t, s, id)
	below.old = old
	s.marks.invalidateAll()
	if !isAnns(t, s, id) {
		t.Error("the old copy is taken for the session")
	}
	if list, _, err := s.Principals().List(ctx, "ann", "", 100); len(list) != 0 || err != nil { // until the cache knows it
		t.Errorf("listed are %v, %v", list, err)
	}
	below.old = tiers.Read{}
	if !isAnns(t, s, id) {
		t.Error("a read of the old copy has ended the session")
	}
}

// A principal may come from a form, and is written into its session and the index.
func TestAPrincipalIsBounded(t *testing.T) {
	ctx := context.Background()
	s := node(t)
	logIn := func(principal string) error {
		session := open(s, "session-0123456789")
		return errors.Join(session.Set("user", principal), session.Close())
	}
	for _, principal := range []string{strings.Repeat("a", principals.MaxPrincipal+1), "\xd5\xc5"} { // too long, and in GBK
		if err := logIn(principal); err == nil || tiers.MayBeApplied(err) {
			t.Errorf("a log-in of a principal of %d bytes returned %v", len(principal), err)
		}
	}
	if data, err := open(s, "session-0123456789").Data(); err != nil || len(data) > 0 {
		t.Errorf("a refused log-in left %d keys, %v", len(data), err)
	}
	longest := strings.Repeat("a", principals.MaxPrincipal)
	if err := logIn(longest); err != nil {
		t.Error(err)
	}
	if list, _, err := s.Principals().List(ctx, longest, "", 10); err != nil || len(list) != 1 {
		t.Errorf("listed are %d sessions, %v", len(list), err)
	}
	for _, principal := range []string{"", longest + "a", "\xd5\xc5"} {
		if _, _, err := s.Principals().List(ctx, principal, "", 10); err == nil {
			t.Errorf("a principal of %d bytes can be listed", len(principal))
		}
		if _, err := s.Principals().RevokeAll(ctx, principal, ReasonLoggedOut, nil); err == nil {
			t.Errorf("the sessions of a principal of %d bytes can be ended", len(principal))
		}
	}
}

// A store gives a number back as json.Number and a struct as a map. A func that knows only what a handler has set would find
// nobody in what is read, so that no mark ended the session: the log-in is refused.
func TestAPrincipalThatIsLostInTheStore(t *testing.T) {
	type user struct{ Name string }
	const id = "session-0123456789"
	ctx := context.Background()
	principal := func(data map[string]any) string {
		if u, ok := data["struct"].(*user); ok {
			return u.Name
		}
		if n, ok := data["number"].(int); ok {
			return strconv.Itoa(n)
		}
		return gconv.String(data["converted"])
	}
	for key, c := range map[string]struct {
		value any
		keeps bool // by a store of JSON
	}{"struct": {&user{"ann"}, false}, "number": {7, false}, "converted": {7, true}} {
		for name, store := range map[string]gsession.Storage{"JSON": gsession.NewStorageFile(t.TempDir(), time.Hour), "Go values": gsession.NewStorageMemory()} {
			s := New(store, principal, Defaults())
			session := open(s, id)
			err := errors.Join(session.Set(key, c.value), session.Close())
			works := c.keeps || name != "JSON"
			if (err == nil) != works || err != nil && tiers.MayBeApplied(err) {
				t.Errorf("%s over %s: a log-in returned %v", key, name, err)
			}
			if read, err := s.Load(ctx, id, time.Hour); err != nil || (read.Snapshot.Len() > 0) != works {
				t.Errorf("%s over %s: a read returned %d keys, %v", key, name, read.Snapshot.Len(), err)
			}
			if err := s.Close(ctx); err != nil {
				t.Error(err)
			}
		}
	}
}

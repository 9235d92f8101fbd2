package sessionmap

import (
	"fmt"
	"testing"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/generations"
)

// Under a GoFrame whose maps can't be followed the same holds for requests whose maps are
// remembered: changes of overlapping ones are merged, a log-out is final, an id carries the data.
func TestMapsThatCannotBeFollowedAreRemembered(t *testing.T) {
	defer PretendUnfollowed()()
	if FollowsMaps() {
		t.Fatal("the fault isn't injected")
	}
	c := newCore()
	f := newFront(c)
	closed(t, f.session(t, id, values{"user": "ann", "theme": "light"}))
	one, two := f.get(t, id), f.get(t, id)
	one.Set("cart", 1)
	two.Remove("theme")
	f.set(t, id, one)
	f.set(t, id, two)
	wantData(t, c.holds(id), values{"user": "ann", "cart": 1})

	commits := c.commitCount()
	f.set(t, id, two) // GoFrame's second close
	if n := c.commitCount() - commits; n != 0 {
		t.Errorf("a second close makes %d commits", n)
	}

	late := f.get(t, id)
	session := gsession.New(ttl, f).New(t.Context(), id)
	session.MustSet("user", "bert")
	next, err := session.RegenerateId(true)
	if err != nil {
		t.Fatal(err)
	}
	wantData(t, c.holds(next), values{"user": "bert", "cart": 1})
	late.Set("late", true)
	wantRevoked(t, f.SetSession(t.Context(), id, late, ttl))
	wantData(t, c.holds(id), nil)
}

// A map that isn't remembered any more is compared with what the session had been handed out as
// last, and doesn't replace what another node has written.
func TestForgottenMapIsComparedWithTheLastOne(t *testing.T) {
	defer PretendUnfollowed()()
	c := newCore()
	c.put(id, values{"user": "ann"})
	f := newFront(c)
	session := gsession.New(ttl, f).New(t.Context(), id)
	session.MustSet("theme", "dark")
	l := unfollowed.Load()
	l.maps = generations.Map[uintptr, *origin]{}
	c.put(id, values{"user": "ann", "cart": 1}) // another node
	closed(t, session)
	wantData(t, c.holds(id), values{"user": "ann", "cart": 1, "theme": "dark"})
}

func TestLedgerIsBounded(t *testing.T) {
	defer PretendUnfollowed()()
	c := newCore()
	f := newFront(c)
	for n := range 3 * ledgerSize {
		name := fmt.Sprint("session-", n)
		c.put(name, values{"n": n})
		f.get(t, name)
	}
	l := unfollowed.Load()
	if n := l.maps.Len(); n > 2*ledgerSize || n < ledgerSize {
		t.Errorf("%d maps are remembered", n)
	}
	if n := l.last.Len(); n > 2*ledgerSize || n < ledgerSize {
		t.Errorf("%d sessions are remembered", n)
	}
}

package sessionmap

import (
	"testing"

	"github.com/gogf/gf/v2/os/gsession"
)

// A log-in handler that drops the old session and fills it anew, through gsession.
func TestRequestThatRemovesAllMaySetTheSameKeysAgain(t *testing.T) {
	for name, user := range map[string]any{"another value": "two", "the same value": "one"} {
		t.Run(name, func(t *testing.T) {
			c := newCore()
			c.put(id, values{"user": "one", "cart": "old"})
			manager := gsession.New(ttl, newFront(c))
			session := manager.New(t.Context(), id)
			if err := session.RemoveAll(); err != nil {
				t.Fatal(err)
			}
			session.MustSet("user", user)
			if err := session.Close(); err != nil {
				t.Fatalf("Close = %v; the request itself removed the session", err)
			}
			wantData(t, c.holds(id), values{"user": user})
			commits := c.commitCount()
			if err := session.Close(); err != nil {
				t.Fatalf("second Close = %v", err)
			}
			if c.commitCount() != commits {
				t.Error("the second close was committed again")
			}
			if err := session.RemoveAll(); err != nil {
				t.Fatal(err)
			}
			session.MustSet("user", user)
			if err := session.Close(); err != nil {
				t.Fatalf("Close after the second RemoveAll = %v", err)
			}
			wantData(t, c.holds(id), values{"user": user})
		})
	}
}

func TestRequestThatRemovesAllMayRegenerateItsID(t *testing.T) {
	for _, key := range []string{"user", "role"} {
		t.Run(key, func(t *testing.T) {
			c := newCore()
			c.put(id, values{"user": "one"})
			session := gsession.New(ttl, newFront(c)).New(t.Context(), id)
			if err := session.RemoveAll(); err != nil {
				t.Fatal(err)
			}
			session.MustSet(key, "two")
			next, err := session.RegenerateId(true)
			if err != nil {
				t.Fatalf("RegenerateId = %v; the request itself removed the session", err)
			}
			if err := session.Close(); err != nil {
				t.Fatal(err)
			}
			wantData(t, c.holds(next), values{key: "two"})
			wantData(t, c.holds(id), nil)
		})
	}
}

// Another request's RemoveAll gives no such licence, whatever this one sets.
func TestRequestThatRemovedNothingStaysRevoked(t *testing.T) {
	c := newCore()
	c.put(id, values{"user": "one"})
	f := newFront(c)
	m := f.get(t, id)
	if err := f.RemoveAll(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	m.Set("user", "two")
	wantRevoked(t, f.SetSession(t.Context(), id, m, ttl))
	wantRevoked(t, f.SetSession(t.Context(), "session-2", m, ttl))
	wantData(t, c.holds(id), nil)
	wantData(t, c.holds("session-2"), nil)
}

package layer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
)

func userOf(data map[string]any) string {
	user, _ := data["user"].(string)
	return user
}

// device is one of a user's sessions.
type device struct {
	chain gsession.Storage
	id    string
}

func (d device) open() *gsession.Session {
	return gsession.New(time.Hour, d.chain).New(context.Background(), d.id)
}

func (d device) logIn(t testing.TB, user string) {
	t.Helper()
	if err := d.set("user", user); err != nil {
		t.Fatal(err)
	}
}

func (d device) set(key string, value any) error {
	s := d.open()
	return errors.Join(s.Set(key, value), s.Close())
}

func (d device) user(t testing.TB) string {
	t.Helper()
	user, err := d.open().Get("user")
	if err != nil {
		t.Fatal(err)
	}
	return user.String()
}

func TestPrincipalsInTheProcess(t *testing.T) {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(), patientCoalesced(), patientLocal(), layer.Indexed(userOf), layer.Traced())
	defer func() {
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	users := layer.Principals(chain)
	one, two, other := device{chain, "one-0123456789"}, device{chain, "two-0123456789"}, device{chain, "other-0123456789"}
	one.logIn(t, "alice")
	two.logIn(t, "alice")
	other.logIn(t, "bob")
	list, _, err := users.List(ctx, "alice", "")
	if err != nil || len(list) != 2 {
		t.Fatalf("listed are %d sessions, %v", len(list), err)
	}
	if data := one.open().MustData(); len(data) != 1 {
		t.Errorf("the session shows %v", data)
	}
	running := two.open()
	running.MustSet("late", 1)
	handle, err := users.Handle(ctx, two.id)
	if err != nil || handle != list[0].Handle && handle != list[1].Handle {
		t.Fatalf("the handle is %q, %v", handle, err)
	}
	if err := users.Revoke(ctx, handle, layer.ReasonEndedByAdmin); err != nil {
		t.Fatal(err)
	}
	if err := running.Close(); !errors.Is(err, layer.ErrRevoked) || layer.ReasonOf(err) != layer.ReasonEndedByAdmin {
		t.Errorf("a running request returned %v, reason %q", err, layer.ReasonOf(err))
	}
	if two.user(t) != "" || one.user(t) != "alice" {
		t.Error("the wrong session ended")
	}
	if reason, err := users.Reason(ctx, two.id); reason != layer.ReasonEndedByAdmin || err != nil {
		t.Errorf("the reason is %q, %v", reason, err)
	}
	if n, err := users.RevokeAll(ctx, "alice", layer.ReasonPasswordChanged); n != 1 || err != nil {
		t.Errorf("%d sessions ended, %v", n, err)
	}
	if one.user(t) != "" || other.user(t) != "bob" {
		t.Error("the wrong sessions ended")
	}
	one.logIn(t, "alice")
	if one.user(t) != "alice" {
		t.Error("a later log-in is over")
	}
	if err := users.RevokeEverybody(ctx, layer.ReasonEndedByAdmin); err != nil {
		t.Fatal(err)
	}
	if one.user(t) != "" || other.user(t) != "" {
		t.Error("a session is left")
	}
}

func TestUpdateChangesASessionThatNeverExpires(t *testing.T) {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Indexed(userOf))
	defer func() {
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	open := func() *gsession.Session { return gsession.New(0, chain).New(ctx, "never-0123456789") }
	s := open()
	if err := errors.Join(s.Set("user", "alice"), s.Close()); err != nil {
		t.Fatal(err)
	}
	changed, err := layer.Principals(chain).Update(ctx, "alice", func(c *layer.Changes) error { c.Set("role", "editor"); return nil })
	if changed != 1 || err != nil {
		t.Errorf("%d changed, %v", changed, err)
	}
	if role := open().MustGet("role").String(); role != "editor" {
		t.Errorf("the role is %q", role)
	}
}

// Two of them would each end and limit what the other has entered.
func TestIndexedStandsOnceInAChain(t *testing.T) {
	twice := func(name string, chain func(store gsession.Storage) *layer.Stack) {
		t.Helper()
		defer func() {
			if text := fmt.Sprint(recover()); !strings.Contains(text, "stands twice") {
				t.Errorf("%s: %s", name, text)
			}
		}()
		_ = chain(gsession.NewStorageMemory()).Close(context.Background())
	}
	twice("in a chain", func(store gsession.Storage) *layer.Stack {
		return layer.Chain(store, layer.Indexed(userOf), patientLocal(), layer.Indexed(userOf))
	})
	twice("around another author's", func(store gsession.Storage) *layer.Stack {
		return layer.Chain(store, layer.Indexed(userOf), strange, layer.Indexed(userOf))
	})
	twice("in a chain and its store", func(store gsession.Storage) *layer.Stack {
		below := layer.Chain(store, layer.Indexed(userOf))
		t.Cleanup(func() { _ = below.Close(context.Background()) })
		return layer.Chain(below, layer.Indexed(userOf))
	})
}

package sessionmap

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

var errLost = errors.New("the reply was lost")

// lossy has its first commit applied, and the reply lost; then happens what others do meanwhile.
func lossy(meanwhile func(c *core)) (*front, *core) {
	f := newFront(newCore())
	f.Maps.core = &losing{core: f.core, meanwhile: meanwhile}
	return f, f.core
}

type losing struct {
	*core
	meanwhile func(c *core)
	lost      bool
}

func (l *losing) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	s, err := l.core.Commit(ctx, id, delta, ttl)
	if !l.lost && err == nil && !delta.IsInquiry() {
		l.lost = true
		if l.meanwhile != nil {
			l.meanwhile(l.core)
		}
		return nil, errLost
	}
	return s, err
}

// GoFrame closes a session twice. If the first close may have been applied although it failed, the
// second one overwrites nothing that is newer, and begins no session again.
func TestTheSecondCloseOfWhatMayHaveBeenAppliedIsConditional(t *testing.T) {
	for name, c := range map[string]struct {
		before    values // nil: the request begins the session
		meanwhile func(c *core)
		outcome   error
		want      values
	}{
		"a change that was applied":         {before: values{"k": "0"}, want: values{"k": "1"}},
		"a change, and another node's":      {values{"k": "0"}, func(c *core) { c.put(id, values{"k": "2"}) }, tiers.ErrConflict, values{"k": "2"}},
		"a change, and a log-out":           {values{"k": "0"}, func(c *core) { _ = c.RemoveAll(t.Context(), id) }, tiers.ErrRevoked, nil},
		"a session that has begun":          {want: values{"k": "1"}},
		"a session, and a log-out":          {nil, func(c *core) { _ = c.RemoveAll(t.Context(), id) }, tiers.ErrConflict, nil},
		"a session, and another under it":   {nil, func(c *core) { c.put(id, values{"user": "eve"}) }, tiers.ErrConflict, values{"user": "eve"}},
		"a session, and another node's key": {nil, func(c *core) { c.put(id, values{"k": "1", "b": "2"}) }, nil, values{"k": "1", "b": "2"}},
	} {
		f, store := lossy(c.meanwhile)
		if c.before != nil {
			store.put(id, c.before)
		}
		request := gsession.New(ttl, f).New(t.Context(), id)
		if err := request.Set("k", "1"); err != nil {
			t.Fatal(err)
		}
		if err := request.Close(); !errors.Is(err, errLost) {
			t.Fatalf("%s: the first close returned %v", name, err)
		}
		for range 2 {
			if err := request.Close(); !errors.Is(err, c.outcome) {
				t.Errorf("%s: a later close returned %v, want %v", name, err, c.outcome)
			}
		}
		if got := store.holds(id); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: the store holds %v, want %v", name, got, c.want)
		}
	}
}

// A change that the handler makes after the close that failed is a change of its own.
func TestAChangeAfterACloseThatFailedIsWritten(t *testing.T) {
	for name, before := range map[string]values{"a session that is there": {"k": "0", "a": "0"}, "a new one": nil} {
		f, store := lossy(nil)
		want := values{"k": "2", "b": "3"}
		if before != nil {
			store.put(id, before)
			want["a"] = "0"
		}
		request := gsession.New(ttl, f).New(t.Context(), id)
		err := request.Set("k", "1")
		if closed := request.Close(); err != nil || !errors.Is(closed, errLost) {
			t.Fatal(err, closed)
		}
		if err := errors.Join(request.Set("k", "2"), request.Set("b", "3"), request.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := store.holds(id); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the store holds %v, want %v", name, got, want)
		}
		if err := errors.Join(request.RemoveAll(), request.Close()); err != nil || store.holds(id) != nil {
			t.Errorf("%s: after its end the store holds %v, %v", name, store.holds(id), err)
		}
	}
}

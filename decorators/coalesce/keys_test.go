package coalesce_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/teststore"
)

// writes counts what reaches a direct store. mu guards all fields but Storage.
type writes struct {
	gsession.Storage
	slow  chan struct{} // set before use: SetMap waits until it is closed
	mu    sync.Mutex
	calls []string
	fail  error
}

func (w *writes) call(name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, name)
	return w.fail
}

func (w *writes) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

func (w *writes) failing(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = err
}

func (w *writes) Set(ctx context.Context, id, key string, value any, life time.Duration) error {
	return errors.Join(w.call("Set"), w.Storage.Set(ctx, id, key, value, life))
}

func (w *writes) SetMap(ctx context.Context, id string, data map[string]any, life time.Duration) error {
	if err := w.call(fmt.Sprint("SetMap ", len(data))); err != nil {
		return err
	}
	if w.slow != nil {
		<-w.slow
	}
	return w.Storage.SetMap(ctx, id, data, life)
}

func (w *writes) Remove(ctx context.Context, id, key string) error {
	if err := w.call("Remove"); err != nil {
		return err
	}
	return w.Storage.Remove(ctx, id, key)
}

func direct(sessions map[string]map[string]any) *writes {
	return &writes{Storage: teststore.NewKeys(sessions)}
}

// keyed runs a test on a direct store in its own time.
func keyed(t *testing.T, w *writes, test func(t *testing.T, c *coalesce.Storage), opts ...coalesce.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := coalesce.New(w, opts...)
		test(t, c)
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestKeysOfOneRequestGoTogether(t *testing.T) {
	w := direct(map[string]map[string]any{"a": {"old": "0", "stays": "0"}})
	keyed(t, w, func(t *testing.T, c *coalesce.Storage) {
		must(t,
			c.Set(ctx, "a", "one", "1", ttl), c.Set(ctx, "a", "two", "2", ttl),
			c.SetMap(ctx, "a", map[string]any{"three": "3", "one": "11"}, ttl),
			c.Remove(ctx, "a", "old"), c.Remove(ctx, "a", "two"))
		if calls := w.take(); len(calls) != 0 {
			t.Errorf("%v reached the store before the request ended", calls)
		}
		for key, want := range map[string]any{"one": "11", "three": "3", "old": nil, "two": nil, "stays": "0"} {
			if got, err := c.Get(ctx, "a", key); err != nil || got != want {
				t.Errorf("the request reads %s as %v, want %v, %v", key, got, want, err)
			}
		}
		data, err := c.Data(ctx, "a")
		if size, _ := c.GetSize(ctx, "a"); err != nil || size != 3 || len(data) != 3 || data["one"] != "11" {
			t.Errorf("the request reads %v of size %d, %v", data, size, err)
		}
		must(t, c.SetSession(ctx, "a", gmap.NewStrAnyMap(true), ttl))
		if calls := fmt.Sprint(w.take()); calls != "[SetMap 2 Remove Remove]" {
			t.Errorf("%v reached the store, want one SetMap and what was removed", calls)
		}
		slides := w.Storage.(*teststore.Keys).Slides
		if n := slides(); n != 1 {
			t.Errorf("the expiry was set %d times, want once", n)
		}
		must(t, c.Set(ctx, "a", "never closed", "1", ttl))
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if calls := fmt.Sprint(w.take()); calls != "[SetMap 1]" {
			t.Errorf("%v reached the store of a request that isn't closed", calls)
		}
		if n := slides(); n != 2 {
			t.Errorf("the expiry was set %d times, want it set for a request that isn't closed too", n)
		}
	})
}

// A key's removal comes after the write of it that is on its way.
func TestARemovalComesAfterTheWriteBeforeIt(t *testing.T) {
	w := direct(nil)
	keyed(t, w, func(t *testing.T, c *coalesce.Storage) {
		slow := make(chan struct{})
		w.slow = slow
		must(t, c.Set(ctx, "a", "k", "1", ttl), c.Set(ctx, "a", "l", "1", ttl))
		time.Sleep(time.Second)
		synctest.Wait() // the write is at the store
		must(t, c.Remove(ctx, "a", "k"))
		close(slow)
		must(t, c.Flush(ctx))
		if held := w.Storage.(*teststore.Keys).Holds("a"); held["k"] != nil || held["l"] != "1" {
			t.Errorf("the store holds %v, want l only", held)
		}
	}, writeBehind(time.Second))
}

// A value that the store may not be able to keep is written at once, and its refusal returned.
func TestAValueThatIsNotPlainIsWrittenAtOnce(t *testing.T) {
	w := direct(nil)
	keyed(t, w, func(t *testing.T, c *coalesce.Storage) {
		refused := errors.New("refused")
		w.failing(refused)
		if err := c.Set(ctx, "a", "k", make(chan int), ttl); !errors.Is(err, refused) {
			t.Errorf("returned %v", err)
		}
		w.failing(nil)
	}, writeBehind(time.Hour))
}

// The store is asked for what only it knows: a number may come back as text.
func TestOtherValuesThanTextAreReadFromTheStore(t *testing.T) {
	w := direct(nil)
	keyed(t, w, func(t *testing.T, c *coalesce.Storage) {
		must(t, c.Set(ctx, "a", "n", 5, ttl))
		if got, err := c.Get(ctx, "a", "n"); err != nil || got != 5 {
			t.Errorf("read %v, %v", got, err)
		}
		if calls := w.take(); len(calls) != 1 {
			t.Errorf("%v reached the store, want the number", calls)
		}
	}, writeBehind(time.Hour))
}

func TestTheCloseOfARequestReturnsTheOutcomeOfItsKeys(t *testing.T) {
	w := direct(nil)
	away := errors.New("away")
	keyed(t, w, func(t *testing.T, c *coalesce.Storage) {
		w.failing(away)
		must(t, c.Set(ctx, "a", "k", "1", ttl))
		if err := c.SetSession(ctx, "a", gmap.NewStrAnyMap(true), ttl); !errors.Is(err, away) {
			t.Errorf("the close returns %v, want the store's failure", err)
		}
		w.failing(nil)
		must(t, c.Set(ctx, "a", "k", "2", ttl))
		if m, err := c.GetSession(ctx, "a", ttl); err != nil || m == nil {
			t.Errorf("a session that begins isn't there: %v, %v", m, err)
		}
		must(t, c.RemoveAll(ctx, "a"))
		time.Sleep(time.Hour)
		if held := w.Storage.(*teststore.Keys).Holds("a"); held != nil {
			t.Errorf("the session is back: %v", held)
		}
	})
}

func TestKeysOfADirectStoreAreWrittenBehind(t *testing.T) {
	w := direct(map[string]map[string]any{"a": {"old": "0"}})
	keyed(t, w, func(t *testing.T, c *coalesce.Storage) {
		for n := range 10 { // requests
			must(t, c.Set(ctx, "a", "k", fmt.Sprint(n), ttl), c.SetSession(ctx, "a", gmap.NewStrAnyMap(true), ttl))
			if got, err := c.Get(ctx, "a", "k"); err != nil || got != fmt.Sprint(n) {
				t.Errorf("read %v, %v after %d", got, err, n)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if calls := fmt.Sprint(w.take()); calls != "[SetMap 1]" {
			t.Errorf("%v reached the store for ten requests", calls)
		}
	}, writeBehind(time.Second))
}

// GoFrame slides nothing for a request that only reads a direct store's session.
func TestReadingKeepsADirectSessionAlive(t *testing.T) {
	keys := teststore.NewKeys(map[string]map[string]any{"a": {"k": "0"}})
	keyed(t, &writes{Storage: keys}, func(t *testing.T, c *coalesce.Storage) {
		for range 60 {
			if _, err := c.GetSession(ctx, "a", ttl); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := keys.Slides(); n < 9 || n > 11 {
			t.Errorf("%d slides in an hour of reading, want one each tenth", n)
		}
	})
}

// picky is a direct store that can't send some values.
type picky struct{ *writes }

func (p picky) SetMap(ctx context.Context, id string, data map[string]any, life time.Duration) error {
	for _, value := range data {
		switch value.(type) {
		case json.Number, complex128:
			return errors.New("can't marshal")
		}
	}
	return p.writes.SetMap(ctx, id, data, life)
}

// A value that the store's client can't send is refused at its own Set; the request's other
// keys are written, and the session isn't blocked.
func TestAValueThatCannotBeSentIsRefusedAtItsSet(t *testing.T) {
	for name, opts := range map[string][]coalesce.Option{"synchronous": nil, "behind": {writeBehind(time.Second)}} {
		t.Run(name, func(t *testing.T) {
			w := direct(nil)
			synctest.Test(t, func(t *testing.T) {
				c := coalesce.New(picky{w}, opts...)
				must(t, c.Set(ctx, "a", "name", "x", ttl))
				for _, value := range []any{json.Number("1"), complex(1, 2)} {
					if err := c.Set(ctx, "a", "n", value, ttl); err == nil {
						t.Errorf("%T is accepted", value)
					}
				}
				must(t, c.Set(ctx, "a", "age", "5", ttl))
				began := time.Now()
				if got, err := c.Get(ctx, "a", "name"); err != nil || got != "x" {
					t.Errorf("read %v, %v", got, err)
				}
				must(t, c.SetSession(ctx, "a", gmap.NewStrAnyMap(true), ttl), c.Flush(ctx))
				if held := w.Storage.(*teststore.Keys).Holds("a"); held["name"] != "x" || held["age"] != "5" || time.Since(began) > 0 {
					t.Errorf("the store holds %v after %v", held, time.Since(began))
				}
				must(t, c.Close(ctx))
			})
		})
	}
}

// overtaken is a direct store in which something happens after a session was looked for.
type overtaken struct {
	*writes
	then func()
}

func (o *overtaken) GetSession(ctx context.Context, id string, life time.Duration) (*gmap.StrAnyMap, error) {
	m, err := o.writes.GetSession(ctx, id, life)
	if then := o.then; then != nil {
		o.then = nil
		then()
	}
	return m, err
}

// A session that begins is there for every reader, also if it gets to the store just after
// that was asked; and what a read of it begins for a cache ends.
func TestABeginningSessionIsFoundBeforeTheStoreHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &overtaken{writes: direct(nil)}
		c := coalesce.New(w, writeBehind(time.Second))
		notified := &cache{}
		defer c.Follow(notified)()
		for name, then := range map[string]func(){"a": func() { must(t, c.Flush(ctx)) }, "b": func() {}} {
			must(t, c.Set(ctx, name, "k", "1", ttl))
			w.then = then
			if m, err := c.GetSession(ctx, name, ttl); err != nil || m == nil {
				t.Errorf("session %s is %v, %v", name, m, err)
			}
			if got, err := c.Get(ctx, name, "k"); err != nil || got != "1" {
				t.Errorf("session %s holds %v, %v", name, got, err)
			}
		}
		must(t, c.Flush(ctx))
		synctest.Wait()
		if notified.open != 0 || notified.tokens == 0 {
			t.Errorf("%d of %d have not ended", notified.open, notified.tokens)
		}
		must(t, c.Close(ctx))
	})
}

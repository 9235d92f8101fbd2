package layertest

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
)

const ttl = time.Hour

// env holds the options, the context and the storages of one check.
type env struct {
	*testing.T
	*config
	ctx  context.Context
	pair []gsession.Storage // the nodes that two has opened
}

// failure is the panic by which must ends a check.
type failure struct{ error }

// must ends the check if there is an error. Only the check's own goroutine may call it.
func (e *env) must(errs ...error) {
	if err := errors.Join(errs...); err != nil {
		panic(failure{err})
	}
}

func (e *env) storage() gsession.Storage { return e.open(e.T) }

// two opens two nodes on one store.
func (e *env) two() (a, b gsession.Storage) {
	a, b = e.nodes(e.T)
	e.pair = []gsession.Storage{a, b}
	return a, b
}

// settle flushes the nodes of two, if they are Deferred.
func (e *env) settle() error {
	if !e.deferred {
		return nil
	}
	for _, s := range e.pair {
		if err := flush(e.ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// flushed flushes one storage, if it is Deferred.
func (e *env) flushed(s gsession.Storage) error {
	if !e.deferred {
		return nil
	}
	return flush(e.ctx, s)
}

// beside opens a second node on the store that the fault wraps.
func (e *env) beside(fault *faults) gsession.Storage {
	return e.wrapped(e.T, func(gsession.Storage) gsession.Storage { return fault.Store() })
}

// closeWithoutReply closes a request of s twice, as GoFrame does. The store applies the first close and its reply is
// lost; then another node acts.
func (e *env) closeWithoutReply(s gsession.Storage, fault *faults, request *gsession.Session, other func() error) {
	var failed error
	fault.meanwhile(request.MustId(), nil, func() { failed = other() })
	for range 2 {
		_ = request.Close() // some storages find out that it was applied, and some return an error
	}
	e.must(e.flushed(s), failed)
}

func flush(ctx context.Context, s gsession.Storage) error {
	f, ok := s.(interface{ Flush(context.Context) error })
	if !ok {
		return errors.New("a storage that is Deferred needs a method Flush(context.Context) error")
	}
	return f.Flush(ctx)
}

var ids atomic.Int64

// id returns an id that no other check uses, and that leaks recognises in a text.
func (e *env) id() string { return fmt.Sprintf("secret-id-%d-%d", time.Now().UnixNano(), ids.Add(1)) }

// session begins a request.
func (e *env) session(s gsession.Storage, id string) *gsession.Session {
	return gsession.New(ttl, s).New(e.ctx, id)
}

// save runs a request that sets values.
func (e *env) save(s gsession.Storage, id string, data map[string]any) error {
	request := e.session(s, id)
	if err := request.SetMap(data); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	if err := request.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return e.settle()
}

// saveAndFind is save, and expects the values that it has set.
func (e *env) saveAndFind(s gsession.Storage, id string, data map[string]any) error {
	if err := e.save(s, id, data); err != nil {
		return err
	}
	return e.expect(s, id, data)
}

// trySave is save that recovers from a panic.
func (e *env) trySave(s gsession.Storage, id string, data map[string]any) (panicked bool, err error) {
	defer func() {
		if recover() != nil {
			panicked = true
		}
	}()
	return false, e.save(s, id, data)
}

// begin begins a request and has it load its session.
func (e *env) begin(s gsession.Storage, id string) *gsession.Session {
	request := e.session(s, id)
	_, err := request.Data()
	e.must(err)
	return request
}

// find is data, and ends the check with its error.
func (e *env) find(s gsession.Storage, id string) map[string]any {
	data, err := e.data(s, id)
	e.must(err)
	return data
}

// data returns the session's data, as a new request finds it.
func (e *env) data(s gsession.Storage, id string) (map[string]any, error) {
	if err := e.settle(); err != nil {
		return nil, err
	}
	return e.session(s, id).Data()
}

// logOut runs a request that removes its session.
func (e *env) logOut(s gsession.Storage, id string) error {
	request := e.session(s, id)
	if err := request.RemoveAll(); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return request.Close()
}

// expect compares the session's data with want, as text: stores differ in Go types.
//
// Two nodes that are Deferred get time: the other one's commit may come later, and its invalidation
// after that.
func (e *env) expect(s gsession.Storage, id string, want map[string]any) (err error) {
	limit := time.Duration(0)
	if e.deferred && e.pair != nil {
		limit = freshBound
	}
	poll(limit, func() bool {
		var got map[string]any
		got, err = e.data(s, id)
		if e.reserved != "" {
			delete(got, e.reserved)
		}
		if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
			err = fmt.Errorf("the session holds %v, want %v", got, want)
		}
		return err == nil
	})
	return err
}

// eventually is expect, within the bound for another node.
func (e *env) eventually(s gsession.Storage, id string, want values) (err error) {
	poll(e.maxStale+freshBound, func() bool { err = e.expect(s, id, want); return err == nil })
	return err
}

// together calls f with new ids, n at the same time, and returns an error of one of them.
func (e *env) together(n int, f func(n int, id string) error) error {
	var group sync.WaitGroup
	failed := make(chan error, n)
	for n := range n {
		id := e.id()
		group.Go(func() { failed <- f(n, id) })
	}
	group.Wait()
	for range n {
		if err := <-failed; err != nil {
			return err
		}
	}
	return nil
}

// freshBound is how long a node may not see another node's commit, on a busy machine.
const freshBound = 20 * time.Second

// direct reports whether the storage works key by key. It is asked once.
func (e *env) direct() bool {
	e.asked.Do(func() { e.perKey = e.takesKeys(e.storage()) })
	return e.perKey
}

func (e *env) takesKeys(s gsession.Storage) bool {
	_, err := s.Get(e.ctx, e.id(), "key")
	return !errors.Is(err, gsession.ErrorDisabled)
}

// life returns a short time to live that the store can keep.
func (e *env) life() time.Duration { return max(400*time.Millisecond, 2*e.precision) }

// delivered expects in the store a write that was accepted while the store failed.
func (e *env) delivered(s gsession.Storage, fault *faults, id string) error {
	if err := flush(e.ctx, s); err != nil {
		return err
	}
	return e.expect(fault.Store(), id, values{"k": "new"})
}

// both has two requests overlap that set different keys.
func (e *env) both(a, b gsession.Storage, id string, want values) error {
	one := e.begin(a, id)
	two := e.begin(b, id)
	if err := errors.Join(one.Set("a", "1"), two.Set("b", "2"), one.Close(), two.Close()); err != nil {
		return err
	}
	return e.expect(b, id, want)
}

// refused returns an error unless err refuses the write of a removed session.
func (e *env) refused(err error) error {
	switch {
	case err == nil:
		return errors.New("the write of a request whose session was removed was accepted")
	case e.revoked != nil && !errors.Is(err, e.revoked):
		return fmt.Errorf("the write was refused with %w, want %v", err, e.revoked)
	}
	return nil
}

// content returns values that the storage can keep.
func (e *env) content() values {
	if e.direct() {
		return textOnly()
	}
	return kinds()
}

// poll calls ok until it returns true, for limit at most, and reports whether it did.
func poll(limit time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(limit); ; {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func locked(data map[string]any) *gmap.StrAnyMap { return gmap.NewStrAnyMapFrom(data, true) }

type values = map[string]any

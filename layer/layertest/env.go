package layertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
)

const ttl = time.Hour

// env is what one check works with.
type env struct {
	*testing.T
	*config
	ctx  context.Context
	pair []gsession.Storage // the two nodes of a check that has them
}

func (e *env) storage() gsession.Storage { return e.open(e.T) }

// two opens two nodes on one store.
func (e *env) two() (a, b gsession.Storage) {
	a, b = e.nodes(e.T)
	e.pair = []gsession.Storage{a, b}
	return a, b
}

// settle brings what the nodes have accepted to their store, if they say that it isn't.
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

// flushed brings what one node has accepted to its store.
func (e *env) flushed(s gsession.Storage) error {
	if !e.deferred {
		return nil
	}
	return flush(e.ctx, s)
}

// beside opens a second node on the store of another one that has a Fault.
func (e *env) beside(fault *Fault) gsession.Storage {
	return e.wrapped(e.T, func(gsession.Storage) gsession.Storage { return fault.Store() })
}

func flush(ctx context.Context, s gsession.Storage) error {
	f, ok := s.(interface{ Flush(context.Context) error })
	if !ok {
		return errors.New("a storage that is Deferred needs a method Flush(context.Context) error")
	}
	return f.Flush(ctx)
}

var ids atomic.Int64

// id is one that no other check uses. It is recognised in a text.
func (e *env) id() string { return fmt.Sprintf("secret-id-%d-%d", time.Now().UnixNano(), ids.Add(1)) }

// session is a request's session.
func (e *env) session(s gsession.Storage, id string) *gsession.Session {
	return gsession.New(ttl, s).New(e.ctx, id)
}

// save is a request that sets values, from beginning to end.
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

// trySave is save, and catches a panic.
func (e *env) trySave(s gsession.Storage, id string, data map[string]any) (panicked bool, err error) {
	defer func() {
		if recover() != nil {
			panicked = true
		}
	}()
	return false, e.save(s, id, data)
}

// begin is a request that has loaded its session and goes on.
func (e *env) begin(s gsession.Storage, id string) (*gsession.Session, error) {
	request := e.session(s, id)
	_, err := request.Data()
	return request, err
}

// data is what a new request finds.
func (e *env) data(s gsession.Storage, id string) (map[string]any, error) {
	if err := e.settle(); err != nil {
		return nil, err
	}
	return e.session(s, id).Data()
}

// logOut is a request that removes its session.
func (e *env) logOut(s gsession.Storage, id string) error {
	request := e.session(s, id)
	if err := request.RemoveAll(); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return request.Close()
}

// expect compares what a new request finds, as text: stores differ in Go types.
//
// Where nodes commit behind their requests, the other one's commit may be the later, and its
// invalidation on its way.
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

// freshBound is how long another node's commit may go unseen here, on a busy machine.
const freshBound = 20 * time.Second

// direct reports whether per-key calls work.
func (e *env) direct(s gsession.Storage) bool {
	_, err := s.Get(e.ctx, e.id(), "key")
	return !errors.Is(err, gsession.ErrorDisabled)
}

// life is a short time to live that the store keeps.
func (e *env) life() time.Duration { return max(400*time.Millisecond, 2*e.precision) }

// delivered looks for what was accepted while the store took no writes.
func (e *env) delivered(s gsession.Storage, fault *Fault, id string) error {
	if err := flush(e.ctx, s); err != nil {
		return err
	}
	return e.expect(fault.Store(), id, values{"k": "new"})
}

// both lets two requests overlap, of which each sets a key of its own.
func (e *env) both(a, b gsession.Storage, id string, want values) error {
	one, err := e.begin(a, id)
	if err != nil {
		return err
	}
	two, err := e.begin(b, id)
	if err != nil {
		return err
	}
	if err := errors.Join(one.Set("a", "1"), two.Set("b", "2"), one.Close(), two.Close()); err != nil {
		return err
	}
	return e.expect(b, id, want)
}

// refused reports whether the error is that of a removed session's write.
func (e *env) refused(err error) error {
	switch {
	case err == nil:
		return errors.New("the write of a request whose session was removed was accepted")
	case e.revoked != nil && !errors.Is(err, e.revoked):
		return fmt.Errorf("the write was refused with %w, want %v", err, e.revoked)
	}
	return nil
}

// content is what the storage can keep.
func (e *env) content(s gsession.Storage) values {
	if e.direct(s) {
		return textOnly()
	}
	return kinds()
}

// poll asks until it is true, or for so long.
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

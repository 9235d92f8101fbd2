package layer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Decorator wraps a storage with a behaviour. It is an alias, so that somebody
// else's decorator needs no import of this package.
type Decorator = func(inner gsession.Storage) gsession.Storage

// ErrRevoked answers SetSession when the session was removed, or expired, after the
// request had loaded it (law 6). Nothing was written.
var ErrRevoked = tiers.ErrRevoked

// ErrConflict answers SetSession when the store's answer to a first attempt was lost, and
// the session has changed since: what would overwrite something newer, or bring a session
// back, was left out (laws 5 and 6).
var ErrConflict = tiers.ErrConflict

// Stack is a chain: a store and the decorators on it. It is a gsession.Storage,
// safe for concurrent use. Close it before the store's own connections.
//
// All fields are set by Chain; closed is guarded by once, refused and reporter guard
// themselves.
type Stack struct {
	layers []gsession.Storage // outermost first, the store last
	top    tiers.Storage
	face   *tiers.Face
	files  bool // ids become file names

	refused  refusals
	reporter telemetry.Reporter

	once   sync.Once
	closed error
}

var _ gsession.Storage = (*Stack)(nil)

// Chain puts decorators on a store, the first one innermost. It panics where the
// store or a decorator is nil, as that is a mistake in the program.
func Chain(store gsession.Storage, decorators ...Decorator) *Stack {
	if isNil(store) {
		panic("strata: layer.Chain needs a store; pass the gsession.Storage that you have, such as gsession.NewStorageRedis(g.Redis())")
	}
	layers := make([]gsession.Storage, len(decorators)+1)
	layers[len(decorators)] = store
	for n, decorate := range decorators {
		if decorate == nil {
			panic(fmt.Sprintf("strata: decorator %d of layer.Chain is nil; pass what a constructor returns, such as layer.Local()", n+1))
		}
		inner := layers[len(decorators)-n]
		outer := decorate(inner)
		if isNil(outer) {
			panic(fmt.Sprintf("strata: decorator %d of layer.Chain returned nil; return the inner storage where there is nothing to decorate", n+1))
		}
		layers[len(decorators)-n-1] = outer
	}
	top := tiers.Of(layers[0])
	_, files := store.(*gsession.StorageFile)
	s := &Stack{layers: layers, top: top, face: tiers.NewFace(top), files: files}
	introduce(layers)
	s.reporter.Start(&s.refused)
	s.Report(sinkOf(layers))
	return s
}

// introduce tells caches of the layers below them that they can't find themselves, as a
// stranger without Unwrap stands between.
func introduce(layers []gsession.Storage) {
	for n, l := range layers {
		if cache, ok := l.(interface{ Hear(gsession.Storage) }); ok {
			for _, below := range layers[n+1:] {
				cache.Hear(below)
			}
		}
	}
}

// isNil sees through an interface that holds a nil pointer.
func isNil(s gsession.Storage) bool {
	if s == nil {
		return true
	}
	v := reflect.ValueOf(s)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// Layers returns the storages of the chain, the outermost first and the store last. They are
// those of the chain, not copies.
func (s *Stack) Layers() []gsession.Storage { return slices.Clone(s.layers) }

// Unwrap returns the outermost layer.
func (s *Stack) Unwrap() gsession.Storage { return s.layers[0] }

// Flush returns when every write that the chain had accepted is in the store, or
// ctx ends. It asks the layers outermost first.
func (s *Stack) Flush(ctx context.Context) error {
	var errs []error
	for _, l := range s.decorators() {
		if f, ok := l.(interface{ Flush(context.Context) error }); ok {
			errs = append(errs, f.Flush(ctx))
		}
	}
	return errors.Join(errs...)
}

// Close flushes, then stops what the chain started, outermost first. Calls that are
// still running finish; calls that come later are answered by the store. The store
// itself stays open: whoever made it closes it. Close again returns what the first
// call did.
func (s *Stack) Close(ctx context.Context) error {
	s.once.Do(func() {
		errs := []error{s.Flush(ctx)}
		for _, l := range s.decorators() {
			if c, ok := l.(interface{ Close(context.Context) error }); ok {
				errs = append(errs, c.Close(ctx))
			}
		}
		s.reporter.Stop(&s.refused)
		s.closed = errors.Join(errs...)
	})
	return s.closed
}

// decorators are the layers that the chain made. One that returned what it was
// given made none.
func (s *Stack) decorators() []gsession.Storage {
	store := s.layers[len(s.layers)-1]
	var made []gsession.Storage
	for n, l := range s.layers[:len(s.layers)-1] {
		if !same(l, s.layers[n+1]) && !same(l, store) {
			made = append(made, l)
		}
	}
	return made
}

// same compares two layers; storages that can't be compared differ.
func same(a, b gsession.Storage) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// GetSession answers a copy of the session, nil where there is none. The map is the
// caller's alone (law 2) and remembers what it was made from.
func (s *Stack) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if err := s.check(id); err != nil {
		return nil, err
	}
	switch s.top.Style(ctx) {
	case tiers.StyleSnapshot:
		return s.face.GetSession(ctx, id, ttl)
	case tiers.StyleDirect:
		return s.direct().GetSession(ctx, id, ttl)
	default:
		return s.top.GetSession(ctx, id, ttl)
	}
}

// SetSession commits what the request changed in the map since it was handed out
// (law 5). A map that the chain didn't hand out replaces the session. It answers
// ErrRevoked where the session is gone (law 6).
func (s *Stack) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	if err := s.check(id); err != nil {
		return err
	}
	var err error
	switch s.top.Style(ctx) {
	case tiers.StyleSnapshot:
		err = s.face.SetSession(ctx, id, data, ttl)
	case tiers.StyleDirect:
		err = s.direct().SetSession(ctx, id, data, ttl)
	default:
		err = s.top.SetSession(ctx, id, data, ttl)
	}
	return s.told(ctx, "strata: a session could not be written", err)
}

func (s *Stack) direct() direct { return direct{top: s.top, face: s.face} }

// RemoveAll removes the session. Once it has returned, no request that loaded the
// session before brings its data back.
func (s *Stack) RemoveAll(ctx context.Context, id string) error {
	if err := s.check(id); err != nil {
		return err
	}
	if err := s.top.RemoveAll(ctx, id); err != nil {
		return err
	}
	s.face.Removed(id)
	return nil
}

// UpdateTTL slides the session's expiry to ttl from now.
func (s *Stack) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	if err := s.check(id); err != nil {
		return err
	}
	return s.told(ctx, "strata: a session's expiry could not be slid", s.top.UpdateTTL(ctx, id, ttl))
}

// New asks the store for an id; GoFrame makes one where the store doesn't.
func (s *Stack) New(ctx context.Context, ttl time.Duration) (string, error) {
	return s.top.New(ctx, ttl)
}

// Get answers one value of a direct store's session, nil where there is none.
func (s *Stack) Get(ctx context.Context, id, key string) (any, error) {
	if err := s.check(id); err != nil {
		return nil, err
	}
	return s.top.Get(ctx, id, key)
}

// Data answers all values of a direct store's session.
func (s *Stack) Data(ctx context.Context, id string) (map[string]any, error) {
	if err := s.check(id); err != nil {
		return nil, err
	}
	return s.top.Data(ctx, id)
}

// GetMap is Data under the name that GoFrame's documentation still shows.
func (s *Stack) GetMap(ctx context.Context, id string) (map[string]any, error) {
	return s.Data(ctx, id)
}

// GetSize answers the number of keys of a direct store's session.
func (s *Stack) GetSize(ctx context.Context, id string) (int, error) {
	if err := s.check(id); err != nil {
		return 0, err
	}
	return s.top.GetSize(ctx, id)
}

// Set writes one key of a direct store's session.
func (s *Stack) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	if err := s.check(id); err != nil {
		return err
	}
	return s.top.Set(ctx, id, key, value, ttl)
}

// SetMap writes several keys of a direct store's session.
func (s *Stack) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	if err := s.check(id); err != nil {
		return err
	}
	return s.top.SetMap(ctx, id, data, ttl)
}

// Remove removes one key of a direct store's session.
func (s *Stack) Remove(ctx context.Context, id, key string) error {
	if err := s.check(id); err != nil {
		return err
	}
	return s.top.Remove(ctx, id, key)
}

var errNoID = tiers.NewError("strata: a session operation needs an id; take one from Storage.New or gsession.NewSessionId", nil)

// check refuses ids that no store may see. A stranger's decorator on StorageFile
// wouldn't look at them.
func (s *Stack) check(id string) error {
	switch {
	case id == "":
		return errNoID
	case s.files:
		return tiers.CheckFileID(id)
	}
	return nil
}

package layer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/index"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/internal/value"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Decorator wraps a storage with a behaviour. It is an alias, so that a
// decorator of another module needs no import of this package.
type Decorator = func(inner gsession.Storage) gsession.Storage

// ErrRevoked is returned by SetSession if the session was removed, or expired, after the
// request had loaded it (law 6). Nothing was written.
var ErrRevoked = tiers.ErrRevoked

// ErrConflict is returned by SetSession if the store's reply to a first attempt was lost, and
// the session has changed since: changes that would overwrite something newer, or bring a session
// back, were left out (laws 5 and 6).
var ErrConflict = tiers.ErrConflict

// Stack is a chain: a store and the decorators on it. It is a gsession.Storage, safe for
// concurrent use, and takes a nil context for context.Background(). Close it before the
// store's own connections.
//
// No session has an id that is empty, longer than 512 bytes, or no name for a file of
// StorageFile: reads return no session, and writes return an error, without asking a layer.
// Removing such a session, or sliding its expiry, does nothing.
//
// Printers and encoders, such as GoFrame's g.Dump, show nothing of its layers.
type Stack struct {
	// A request's context leads to the chain, and programs print such contexts whole. So the only field is a
	// func, where printers and encoders stop, and read nothing without its lock.
	parts func() *parts
}

// parts are a chain's. All fields are set by Chain, except closed and panicked, which are
// written before ended is closed, and onClose and over, which mu guards; refused and reporter
// guard themselves.
type parts struct {
	layers []gsession.Storage // outermost first, the store last
	top    tiers.Storage
	maps   *sessionmap.Maps
	files  bool           // ids become file names
	index  *index.Storage // nil for none; index.Key is the chain's own then

	refused  refusals
	reporter telemetry.Reporter

	once     sync.Once
	ended    chan struct{}
	closed   error
	panicked any

	mu      sync.Mutex
	onClose []func()
	over    bool // onClose has been called
}

var _ gsession.Storage = (*Stack)(nil)

// Chain puts decorators on a store, the first one innermost. It panics where the
// store or a decorator is nil, or an option impossible, as that is a mistake in the
// program, and where New returns an error.
func Chain(store gsession.Storage, decorators ...Decorator) *Stack {
	s, err := New(store, decorators...)
	if err != nil {
		panic(err.Error())
	}
	return s
}

// New is Chain that returns an error if a journal can't be opened, or if maps of this GoFrame version can't be
// followed. It still panics for a mistake in the program. If it returns an error or panics, it closes the layers that
// it had made.
func New(store gsession.Storage, decorators ...Decorator) (stack *Stack, err error) {
	if value.IsNil(store) {
		panic("strata: layer.Chain needs a store; pass the gsession.Storage that you have, such as gsession.NewStorageRedis(g.Redis())")
	}
	layers := make([]gsession.Storage, len(decorators)+1)
	layers[len(decorators)] = store
	defer func() {
		if stack != nil {
			return
		}
		over, cancel := context.WithCancel(context.Background())
		cancel()
		made := slices.IndexFunc(layers, func(l gsession.Storage) bool { return l != nil })
		for _, l := range (&parts{layers: layers[made:]}).decorators() {
			if c, ok := l.(interface{ Close(context.Context) error }); ok {
				_ = c.Close(over)
			}
		}
		reason := recover()
		setup, ok := reason.(*failure.SetupError)
		if !ok {
			panic(reason)
		}
		err = setup.Cause
	}()
	for n, decorate := range decorators {
		if decorate == nil {
			panic(fmt.Sprintf("strata: decorator %d of layer.Chain is nil; pass what a constructor returns, such as layer.Local()", n+1))
		}
		inner := layers[len(decorators)-n]
		outer := decorate(inner)
		if value.IsNil(outer) {
			panic(fmt.Sprintf("strata: decorator %d of layer.Chain returned nil; return the inner storage where there is nothing to decorate", n+1))
		}
		layers[len(decorators)-n-1] = outer
	}
	top := sessionmap.Adapt(layers[0])
	_, files := store.(*gsession.StorageFile)
	p := &parts{layers: layers, top: top, maps: sessionmap.New(top), files: files, ended: make(chan struct{})}
	s := &Stack{parts: func() *parts { return p }}
	introduce(layers)
	if p.index = indexOf(layers); p.index != nil {
		p.maps.Hide(index.Key)
	}
	p.reporter.Start(&p.refused)
	s.Report(sinkOf(layers))
	for _, a := range misplaced(layers) {
		p.reporter.Warn(context.Background(), "", "strata: "+a.Text)
	}
	logAdvice(s)
	return s, nil
}

// introduce has each layer discover those below it, also below a decorator without Unwrap. The innermost layer
// is first, as its discovery may concern those above it.
func introduce(layers []gsession.Storage) {
	for n, l := range slices.Backward(layers) {
		if discoverer, ok := l.(interface{ Discover(gsession.Storage) }); ok {
			for _, below := range layers[n+1:] {
				discoverer.Discover(below)
			}
		}
	}
}

// Layers returns the storages of the chain, the outermost first and the store last. They are
// those of the chain, not copies.
func (s *Stack) Layers() []gsession.Storage { return slices.Clone(s.parts().layers) }

// Unwrap returns the outermost layer.
func (s *Stack) Unwrap() gsession.Storage { return s.parts().layers[0] }

// Flush returns when every write that the chain had accepted is in the store, or
// ctx ends. It asks the layers outermost first.
func (s *Stack) Flush(ctx context.Context) error { return s.parts().flush(given(ctx)) }

func (p *parts) flush(ctx context.Context) error {
	var errs []error
	for _, l := range p.decorators() {
		if f, ok := l.(interface{ Flush(context.Context) error }); ok {
			errs = append(errs, f.Flush(ctx))
		}
	}
	return errors.Join(errs...)
}

// Close flushes, then stops what the chain started, outermost first. Calls that are
// still running finish; calls that come later go to the store, and are refused if an earlier write
// of their session isn't in the store. The store itself stays open, for its maker to close. Close
// again returns what the first call did.
//
// It returns when ctx ends, whatever a layer or a store does: one that ignores that is left to
// end by itself, which the error says.
func (s *Stack) Close(ctx context.Context) error {
	p, ctx := s.parts(), given(ctx)
	for _, l := range p.decorators() {
		if c, ok := l.(interface{ MayClose() error }); ok {
			if err := c.MayClose(); err != nil {
				return err
			}
		}
	}
	p.once.Do(func() {
		go func() {
			defer func() {
				p.panicked = recover()
				close(p.ended)
			}()
			p.closed = errAbandoned // a layer may end the goroutine
			p.closed = p.close(ctx)
		}()
	})
	select {
	case <-p.ended:
		return p.outcome()
	case <-ctx.Done():
	}
	select {
	case <-p.ended:
		return p.outcome()
	case <-time.After(closeGrace): // for layers that heed ctx to say what they haven't done
		return tiers.NewError("strata: a layer of the chain had not ended when the chain was closed", ctx.Err())
	}
}

// outcome returns the result of Close once the layers have ended, or raises a layer's panic.
func (p *parts) outcome() error {
	if p.panicked != nil {
		panic(p.panicked)
	}
	return p.closed
}

const closeGrace = 250 * time.Millisecond

var errAbandoned = tiers.NewError("strata: a layer of the chain ended the goroutine that closed it", nil)

func (p *parts) close(ctx context.Context) error {
	errs := []error{p.flush(ctx)}
	for _, l := range p.decorators() {
		if c, ok := l.(interface{ Close(context.Context) error }); ok {
			errs = append(errs, c.Close(ctx))
		}
	}
	p.endOthers()
	p.reporter.Stop(&p.refused)
	p.reporter.Flush(ctx)
	return errors.Join(errs...)
}

// OnClose has Close call f once its layers have ended, the last f first; at once if they have
// ended already. It is for what follows the chain, as package config follows the configuration.
func (s *Stack) OnClose(f func()) {
	p := s.parts()
	p.mu.Lock()
	over := p.over
	if !over {
		p.onClose = append(p.onClose, f)
	}
	p.mu.Unlock()
	if over {
		f()
	}
}

func (p *parts) endOthers() {
	p.mu.Lock()
	p.over = true
	others := p.onClose
	p.onClose = nil
	p.mu.Unlock()
	for _, f := range slices.Backward(others) {
		f()
	}
}

// decorators returns the layers that the chain made: a decorator that returned its inner storage made none.
func (p *parts) decorators() []gsession.Storage {
	store := p.layers[len(p.layers)-1]
	var made []gsession.Storage
	for n, l := range p.layers[:len(p.layers)-1] {
		if !same(l, p.layers[n+1]) && !same(l, store) {
			made = append(made, l)
		}
	}
	return made
}

// same compares two layers; storages that can't be compared differ.
func same(a, b gsession.Storage) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// given replaces a nil context, which GoFrame's own storages take as well.
func given(ctx context.Context) context.Context {
	if ctx == nil {
		return context.Background()
	}
	return ctx
}

// GetSession returns a copy of the session, nil if there is none. The map is the
// caller's alone (law 2) and carries its origin.
func (s *Stack) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	p, ctx := s.parts(), given(ctx)
	if p.check(id) != nil {
		return nil, nil
	}
	switch p.top.Style(ctx) {
	case tiers.StyleSnapshot:
		return p.maps.GetSession(ctx, id, ttl)
	case tiers.StyleDirect:
		return p.direct().GetSession(ctx, id, ttl)
	default:
		return p.top.GetSession(ctx, id, ttl)
	}
}

// SetSession commits what the request changed in the map since it was handed out
// (law 5). A map that a program made replaces the session, each time. It returns
// ErrRevoked where the session is gone (law 6) and the change is lost; a close that changed
// nothing loses nothing. The same close again returns the same, and is counted once.
func (s *Stack) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	p, ctx := s.parts(), given(ctx)
	err := p.check(id)
	if err == nil {
		switch p.top.Style(ctx) {
		case tiers.StyleSnapshot:
			err = p.maps.SetSession(ctx, id, data, ttl)
		case tiers.StyleDirect:
			err = p.direct().SetSession(ctx, id, data, ttl)
		default:
			err = p.top.SetSession(ctx, id, data, ttl)
		}
	}
	if p.index != nil && err != nil && !sessionmap.RefusedBefore(err) {
		err = p.index.Principals().Explain(ctx, id, err)
	}
	return p.logDropped(ctx, "strata: a session could not be written", err)
}

func (p *parts) direct() direct { return direct{top: p.top, maps: p.maps} }

// RemoveAll removes the session. Once it has returned, no request that loaded the
// session before brings its data back.
func (s *Stack) RemoveAll(ctx context.Context, id string) error {
	p, ctx := s.parts(), given(ctx)
	if p.check(id) != nil {
		return nil
	}
	return p.maps.RemoveAll(ctx, id)
}

// UpdateTTL slides the session's expiry to ttl from now.
func (s *Stack) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	p, ctx := s.parts(), given(ctx)
	if p.check(id) != nil {
		return nil
	}
	return p.logDropped(ctx, "strata: a session's expiry could not be slid", p.top.UpdateTTL(ctx, id, ttl))
}

// New returns an id of 128 random bits, whatever the store would make: those of GoFrame have
// 16 bits or 31.
func (s *Stack) New(context.Context, time.Duration) (string, error) { return sessionmap.NewID(), nil }

// Get returns one value of a direct store's session, nil where there is none.
func (s *Stack) Get(ctx context.Context, id, key string) (any, error) {
	p, ctx := s.parts(), given(ctx)
	if err := p.checkKeys(ctx, id); err != nil {
		return nil, absent(err)
	}
	return p.top.Get(ctx, id, key)
}

// Data returns all values of a direct store's session.
func (s *Stack) Data(ctx context.Context, id string) (map[string]any, error) {
	p, ctx := s.parts(), given(ctx)
	if err := p.checkKeys(ctx, id); err != nil {
		return nil, absent(err)
	}
	return p.top.Data(ctx, id)
}

// GetMap is Data under the name that GoFrame's documentation still shows.
func (s *Stack) GetMap(ctx context.Context, id string) (map[string]any, error) {
	return s.Data(ctx, id)
}

// GetSize returns the number of keys of a direct store's session.
func (s *Stack) GetSize(ctx context.Context, id string) (int, error) {
	p, ctx := s.parts(), given(ctx)
	if err := p.checkKeys(ctx, id); err != nil {
		return 0, absent(err)
	}
	return p.top.GetSize(ctx, id)
}

// Set writes one key of a direct store's session.
func (s *Stack) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	p, ctx := s.parts(), given(ctx)
	if err := p.checkKeys(ctx, id); err != nil {
		return err
	}
	return p.top.Set(ctx, id, key, value, ttl)
}

// SetMap writes several keys of a direct store's session.
func (s *Stack) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	p, ctx := s.parts(), given(ctx)
	if err := p.checkKeys(ctx, id); err != nil {
		return err
	}
	return p.top.SetMap(ctx, id, data, ttl)
}

// Remove removes one key of a direct store's session.
func (s *Stack) Remove(ctx context.Context, id, key string) error {
	p, ctx := s.parts(), given(ctx)
	if err := p.checkKeys(ctx, id); err != nil {
		return absent(err)
	}
	return p.top.Remove(ctx, id, key)
}

// check returns why no session can have the id, also for StorageFile: a decorator of another author may
// stand between it and the chain.
func (p *parts) check(id string) error {
	if err := tiers.CheckID(id); err != nil || !p.files {
		return err
	}
	return sessionmap.CheckFileID(id)
}

// checkKeys is check for a per-key call. Over a store that disables these, a Session goes on with its map
// even if the id is bad, so that a request may still regenerate it.
func (p *parts) checkKeys(ctx context.Context, id string) error {
	err := p.check(id)
	if err != nil && p.top.Style(ctx) == tiers.StyleSnapshot {
		return gsession.ErrorDisabled
	}
	return err
}

// absent returns the error of a read, or of the removal of a key, under an id that no session can have.
func absent(err error) error {
	if errors.Is(err, gsession.ErrorDisabled) {
		return err
	}
	return nil
}

// sinkOf returns the sink of the outermost Traced that has one.
func sinkOf(layers []gsession.Storage) *telemetry.Sink {
	for _, l := range layers {
		if traced, ok := l.(interface{ Sink() *telemetry.Sink }); ok && traced.Sink() != nil {
			return traced.Sink()
		}
	}
	return telemetry.Standard()
}

// Report gives the sink to all layers, as Chain does. It is for a chain that is the store of
// another one, which calls it.
func (s *Stack) Report(to *telemetry.Sink) {
	p := s.parts()
	to = to.Over(p.layers[len(p.layers)-1])
	p.reporter.Move(to, &p.refused)
	telemetry.ReportTo(p.top, to)
	for _, l := range p.layers {
		telemetry.ReportTo(l, to)
	}
}

// Delays returns how long the store and invalidations took since the first call of Delays. That call begins the
// measuring, so that a chain without a status page pays nothing. Package status draws them.
func (s *Stack) Delays() []telemetry.Delay { return s.parts().reporter.Delays() }

// refusals count the writes of a chain that came after a removal. The tally guards itself.
type refusals struct{ tally telemetry.Tally }

func (r *refusals) Tally() *telemetry.Tally { return &r.tally }

func (r *refusals) Gauges(func(telemetry.Gauge, float64)) {}

// logDropped logs an error that GoFrame drops when it closes a session, and returns it. It logs nothing for a
// client that has left if a layer goes on with the write: that layer reports how it ends.
func (p *parts) logDropped(ctx context.Context, message string, err error) error {
	if err == nil || errors.Is(err, gsession.ErrorDisabled) || errors.Is(err, failure.ErrUnderWay) || sessionmap.RefusedBefore(err) {
		return err
	}
	if errors.Is(err, ErrRevoked) {
		p.refused.tally.Add(telemetry.Revocations)
	}
	p.reporter.Warn(ctx, message+failure.ErrorType(err), message, slog.String("error", failure.Explain(err)))
	return err
}

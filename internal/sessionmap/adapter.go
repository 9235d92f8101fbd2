package sessionmap

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Adapt returns the snapshot capability of a storage: the storage itself if it has
// one, else an adapter over its eleven methods. The adapter merges a delta under a
// lock per id of this process, and keeps what the storage says in an error's text
// from going further (law 10); errors.Is and errors.As still see the original.
func Adapt(s gsession.Storage) tiers.Storage {
	if t, ok := s.(tiers.Storage); ok {
		return t
	}
	p := &adapter{inner: s, store: true, form: tiers.PreviewOf(s)}
	if _, wraps := s.(interface{ Unwrap() gsession.Storage }); !wraps {
		p.meter = telemetry.NewStore(s)
	}
	switch s.(type) {
	case *gsession.StorageRedis, *gsession.StorageMemory:
		p.style.Store(uint32(tiers.StyleSnapshot))
	case *gsession.StorageFile:
		p.style.Store(uint32(tiers.StyleSnapshot))
		p.files = true
	case *gsession.StorageRedisHashTable:
		p.style.Store(uint32(tiers.StyleDirect))
	default:
		p.store = false
	}
	return p
}

// adapter adapts a storage without the capability. inner, meter, store, files and
// form are set at construction, style and failures are atomic, locks guard themselves.
type adapter struct {
	inner gsession.Storage
	meter *telemetry.Store // nil for a decorator
	store bool             // one of GoFrame's, so that no session maps are below
	files bool             // ids become file names, and reads may see half a write
	form  tiers.Preview    // nil where it isn't known
	style atomic.Uint32
	locks Locks

	failures atomic.Int32 // of probes
}

var _ tiers.Storage = (*adapter)(nil)

// Report says where to report how long the storage takes, also to what it wraps.
func (p *adapter) Report(to *telemetry.Sink) {
	p.meter.Report(to)
	telemetry.ReportTo(p.inner, to)
}

// ended reports an operation, and returns its error with the text kept private.
func (p *adapter) ended(ctx context.Context, operation telemetry.Operation, began time.Time, err error) error {
	switch {
	case err == nil:
		p.meter.End(ctx, began, operation, "")
		return nil
	case !isDisabled(err): // which says that nothing was done
		p.meter.End(ctx, began, operation, failure.ErrorType(err))
	}
	return redact(operation.String(), err)
}

// Unwrap returns the storage that is adapted.
func (p *adapter) Unwrap() gsession.Storage { return p.inner }

// check returns why the store can have no session under the id: reads return none then, and
// removals and slides do nothing.
func (p *adapter) check(id string) error {
	if err := tiers.CheckID(id); err != nil || !p.files {
		return err
	}
	return CheckFileID(id)
}

// probeID is the id of no session. Stores that disable per-key calls don't look at
// it, and the others are asked to read.
const probeID = "strata-probe"

// adapt notes for the Maps below, if there may be one, what the write of a delta is.
func (p *adapter) adapt(ctx context.Context, call adapted, delta *tiers.Delta) context.Context {
	if p.store {
		return ctx
	}
	return context.WithValue(ctx, adaptedKey{}, adaptation{call, delta.Urgent()})
}

// maxProbes is how many failing returns settle that the store isn't a snapshot store.
const maxProbes = 100

// Style asks an unknown store: one that disables a per-key call does so without
// looking, whatever the state of its server. One that fails may have a decorator that
// failed in its place; it is taken for direct, and asked again.
func (p *adapter) Style(ctx context.Context) tiers.Style {
	if s := p.style.Load(); s != 0 {
		return tiers.Style(s)
	}
	_, getErr := p.inner.Get(ctx, probeID, probeID)
	_, dataErr := p.inner.Data(ctx, probeID)
	get, data := isDisabled(getErr), isDisabled(dataErr)
	failed := getErr != nil && !get || dataErr != nil && !data
	style := tiers.StyleDirect
	switch {
	case get && data:
		style = tiers.StyleSnapshot
	case get != data && !failed:
		style = tiers.StyleOpaque
	}
	if failed && (ctx.Err() != nil || p.failures.Add(1) < maxProbes) {
		return style
	}
	p.style.CompareAndSwap(0, uint32(style))
	return tiers.Style(p.style.Load())
}

func isDisabled(err error) bool { return errors.Is(err, gsession.ErrorDisabled) }

// Load copies what the storage hands out, which it may share with others.
func (p *adapter) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	if p.Style(ctx) == tiers.StyleDirect {
		return p.loadKeys(ctx, id)
	}
	if p.check(id) != nil {
		return tiers.Read{}, nil
	}
	if p.files {
		unlock, err := p.locks.Lock(ctx, id)
		if err != nil {
			return tiers.Read{}, err
		}
		defer unlock()
	}
	began := p.meter.Begin()
	m, err := p.inner.GetSession(ctx, id, ttl)
	if err = p.ended(ctx, telemetry.GetSession, began, err); err != nil || m == nil {
		return tiers.Read{}, err
	}
	s, err := tiers.NewSnapshot(m.Map())
	return tiers.Read{Snapshot: s}, err
}

// loadKeys reads the whole of a direct session. Such a store has no empty ones.
func (p *adapter) loadKeys(ctx context.Context, id string) (tiers.Read, error) {
	data, err := p.Data(ctx, id)
	if err != nil || len(data) == 0 {
		return tiers.Read{}, err
	}
	s, err := tiers.NewSnapshot(data)
	return tiers.Read{Snapshot: s}, err
}

// Commit reads, merges and writes under the id's lock; nothing but other processes
// can come between. It isn't known what the store makes of the values until they
// are read, so no snapshot is returned.
func (p *adapter) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if err := p.check(id); err != nil {
		return nil, err
	}
	delta, err := delta.Previewed(p.form)
	if err != nil {
		return nil, tiers.NotApplied(err)
	}
	unlock, err := p.locks.Lock(ctx, id)
	if err != nil {
		return nil, tiers.NotApplied(err)
	}
	defer unlock()
	if delta.Replaces() {
		m := gmap.NewStrAnyMapFrom(tiers.Adopt(delta.Set()).Map(), true)
		return nil, p.write(p.adapt(ctx, adaptedReplace, delta), id, m, ttl)
	}
	began := p.meter.Begin()
	m, err := p.inner.GetSession(ctx, id, ttl)
	if err = p.ended(ctx, telemetry.GetSession, began, err); err != nil {
		return nil, tiers.NotApplied(err)
	}
	var current *tiers.Snapshot
	if m != nil {
		if current, err = tiers.NewSnapshot(m.Map()); err != nil {
			return nil, tiers.NotApplied(err)
		}
	}
	next, conflict := delta.Apply(current)
	if next != nil && delta.IsInquiry() && (m == nil || originOf(m) == nil) {
		// Writing it again could undo another process' log-out. A lower Maps writes nothing
		// for a map that is as it was, and finds out what a cache below doesn't know.
		return current, nil
	}
	if next == nil {
		return nil, conflict
	}
	next = tiers.Adopt(next).Map()
	call := adaptedReplace
	switch {
	case m == nil:
		call = adaptedCreate
		m = gmap.NewStrAnyMapFrom(next, true)
	case originOf(m) != nil:
		m.Replace(next) // a lower Maps handed it out and will commit the difference
	default:
		m = gmap.NewStrAnyMapFrom(next, true)
	}
	if err := p.write(p.adapt(ctx, call, delta), id, m, ttl); err != nil {
		return nil, err
	}
	return nil, conflict
}

// Slide passes UpdateTTL on; the storage doesn't say what came of it.
func (p *adapter) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	return time.Time{}, p.UpdateTTL(ctx, id, ttl)
}

// New passes on, as all that follows does, with the error's text kept private.
func (p *adapter) New(ctx context.Context, ttl time.Duration) (string, error) {
	began := p.meter.Begin()
	id, err := p.inner.New(ctx, ttl)
	return id, p.ended(ctx, telemetry.New, began, err)
}

func (p *adapter) Get(ctx context.Context, id, key string) (any, error) {
	began := p.meter.Begin()
	value, err := p.inner.Get(ctx, id, key)
	return value, p.ended(ctx, telemetry.Get, began, err)
}

func (p *adapter) GetSize(ctx context.Context, id string) (int, error) {
	began := p.meter.Begin()
	size, err := p.inner.GetSize(ctx, id)
	return size, p.ended(ctx, telemetry.GetSize, began, err)
}

func (p *adapter) Data(ctx context.Context, id string) (map[string]any, error) {
	began := p.meter.Begin()
	data, err := p.inner.Data(ctx, id)
	return data, p.ended(ctx, telemetry.Data, began, err)
}

func (p *adapter) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	began := p.meter.Begin()
	return p.wrote(ctx, telemetry.Set, began, p.inner.Set(ctx, id, key, value, ttl))
}

func (p *adapter) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	began := p.meter.Begin()
	return p.wrote(ctx, telemetry.SetMap, began, p.inner.SetMap(ctx, id, data, ttl))
}

func (p *adapter) Remove(ctx context.Context, id, key string) error {
	began := p.meter.Begin()
	return p.wrote(ctx, telemetry.Remove, began, p.inner.Remove(ctx, id, key))
}

// RemoveAll waits for a commit of the id that is under way, so that none brings the
// session back after it has returned.
func (p *adapter) RemoveAll(ctx context.Context, id string) error {
	if p.check(id) != nil {
		return nil
	}
	unlock, err := p.locks.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	began := p.meter.Begin()
	return p.ended(ctx, telemetry.RemoveAll, began, p.inner.RemoveAll(ctx, id))
}

// GetSession is called in place of Load where the store is direct or opaque. A
// direct store that hands out data isn't one, and is left to itself from then on.
func (p *adapter) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if p.check(id) != nil {
		return nil, nil
	}
	began := p.meter.Begin()
	m, err := p.inner.GetSession(ctx, id, ttl)
	if m != nil && m.Size() > 0 {
		p.style.CompareAndSwap(uint32(tiers.StyleDirect), uint32(tiers.StyleOpaque))
	}
	return m, p.ended(ctx, telemetry.GetSession, began, err)
}

// SetSession is called in place of Commit where the store is direct or opaque.
func (p *adapter) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if err := p.check(id); err != nil {
		return err
	}
	return p.write(ctx, id, m, ttl)
}

func (p *adapter) write(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	began := p.meter.Begin()
	return p.wrote(ctx, telemetry.SetSession, began, p.inner.SetSession(ctx, id, m, ttl))
}

// wrote is ended of a write, whose error says where it surely wasn't applied.
func (p *adapter) wrote(ctx context.Context, operation telemetry.Operation, began time.Time, err error) error {
	refused := p.isRefusal(err)
	if err = p.ended(ctx, operation, began, err); refused {
		return tiers.NotApplied(err)
	}
	return err
}

// isRefusal reports whether the server didn't get a write, or said no to it by a code: a proxy between may
// reply ERR, or words of its own, to a write that it has passed on. GoFrame's two storages on Redis send one
// command for each.
func (p *adapter) isRefusal(err error) bool {
	switch p.inner.(type) {
	case *gsession.StorageRedis, *gsession.StorageRedisHashTable:
	default:
		return false
	}
	var answer interface {
		error
		RedisError()
	}
	var dial *net.OpError
	if errors.As(err, &answer) {
		code, _, _ := strings.Cut(answer.Error(), " ")
		return code != "" && code != "ERR" && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
	}
	return errors.As(err, &dial) && dial.Op == "dial"
}

func (p *adapter) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	if p.check(id) != nil {
		return nil
	}
	began := p.meter.Begin()
	return p.ended(ctx, telemetry.UpdateTTL, began, p.inner.UpdateTTL(ctx, id, ttl))
}

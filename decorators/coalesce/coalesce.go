// Package coalesce merges the writes of a session that overlap, so that they reach
// the store as few commits.
//
// Each session has a lane. While a commit of it is at the store, the changes that
// come meanwhile join into one next commit, and each caller waits for the commit
// that holds its own. Commits of different sessions that are due at the same moment
// go to the store together where it can take a batch.
//
// Writing behind, a change stays in its lane for an interval and nobody waits for it;
// reads lay what waits over what the store answers. A commit that fails is tried again
// until the session would have expired. What waits is bounded in number and size, and
// may be kept in a journal on disk.
package coalesce

import (
	"context"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Storage merges the commits of a snapshot storage, and the per-key writes of a request
// on a direct one. A write that has returned nil is in the store, or is held, retried
// and reported if it can't be delivered (law 7): the caller's cancellation ends its
// waiting, never the commit. Opaque storages are passed through. Safe for concurrent use.
//
// For each node of the store it runs as many goroutines as there are sessions being written,
// at most four where the store takes batches, elsewhere sixteen writing behind and 1,024 else,
// and at most sixteen for removals, plus one each for reports and the journal; those that have
// nothing to do stay for 20 ms. What waits is bounded by MaxPending and MaxPendingBytes (law 9).
//
// All fields are set by New and guard themselves.
type Storage struct {
	wrapped  gsession.Storage
	inner    tiers.Storage
	circuits *circuit.Store
	face     *sessionmap.Face
	form     tiers.Form // nil where nobody knows what the store makes of values
	options  options
	lanes    lanes
	slides   slides
	caches   caches

	tally    telemetry.Tally
	reporter telemetry.Reporter
}

var _ tiers.Storage = (*Storage)(nil)

// New merges the writes that reach a storage. It panics where an option is
// impossible, and with a tiers.SetupError where the journal can't be opened.
func New(inner gsession.Storage, opts ...Option) *Storage {
	o := defaults()
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of layer.Coalesced is nil; pass what a constructor returns, or leave it out")
		}
		opt(&o)
	}
	o.check()
	s := &Storage{wrapped: inner, form: tiers.FormOf(inner), options: o}
	s.inner, s.circuits = circuit.Over(inner)
	s.face = sessionmap.NewFace(s)
	s.lanes.init(s.inner, s.circuits, o)
	s.lanes.tally, s.lanes.caches, s.lanes.landed, s.lanes.longer = &s.tally, &s.caches, s.landed, s.longer
	s.lanes.reports.log, s.lanes.reports.say = s.log, o.giveUp
	if o.journal != "" {
		if !tiers.IsAtomic(sessionmap.Of(inner)) {
			panic(unfit)
		}
		if err := s.restore(o.journal); err != nil {
			panic(&tiers.SetupError{Cause: err})
		}
	}
	s.reporter.Start(s)
	return s
}

// Unwrap returns the storage below.
func (s *Storage) Unwrap() gsession.Storage { return s.wrapped }

// Circuits are what stands between this layer and the store.
func (s *Storage) Circuits() *circuit.Store { return s.circuits }

// Style is that of the storage below.
func (s *Storage) Style(ctx context.Context) tiers.Style { return s.inner.Style(ctx) }

// Commit returns when the store holds the change, alone or merged with others, or
// when ctx ends; the change goes on to the store then, also where ctx had ended before:
// GoFrame closes the session of a client that went away under such a context. Writing
// behind, it returns when the change is accepted, and in the journal if there is one.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if delta.Empty() {
		return s.unchanged(ctx, id, delta, ttl)
	}
	// What may panic or fail in being encoded does so before it is joined with what others
	// have changed. Where nobody knows how the store encodes, it goes alone. What a store makes
	// of a ttl of 0 or less only the store tells.
	delta, err := delta.Formed(s.form)
	switch {
	case err != nil:
		return nil, err
	case s.options.interval > 0 && ttl > 0 && !delta.Urgent() && (s.form != nil || delta.Plain()):
		return s.behind(ctx, id, delta, ttl)
	default:
		return s.now(ctx, id, delta, ttl)
	}
}

func (s *Storage) now(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	return s.lanes.commit(ctx, id, delta, ttl, s.form == nil && !delta.Plain())
}

// landed notes the expiry that a commit has set. Per-key writes set none, and one that
// only removes keys may have left no session.
func (s *Storage) landed(b *batch, began time.Time) {
	if s.keyed(b.ctx) && !b.alone {
		return
	}
	emptied := b.empties() && (b.snapshot == nil || b.snapshot.Len() == 0)
	s.slides.set(b.id, expiry{at: began.Add(s.lanes.life(b)), told: b.snapshot != nil, emptied: emptied})
}

// RemoveAll removes the session and annuls every change of it that waits: those are
// answered with ErrRevoked. It waits for a commit that is at the store already, so
// that nothing brings the session back once it has returned (law 6).
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	s.slides.forget(id)
	if err := s.lanes.remove(ctx, id); err != nil {
		return err
	}
	s.face.Removed(id)
	return nil
}

// Flush returns when every change that was accepted before the call is in the store
// or has failed, or when ctx ends; then the error counts the changes that wait.
func (s *Storage) Flush(ctx context.Context) error { return s.lanes.flush(ctx) }

// MayClose says why Close would wait for its own caller, nil where it wouldn't. A chain asks
// before it closes its layers on another goroutine.
func (s *Storage) MayClose() error {
	if inCallback() {
		return errCallback
	}
	return nil
}

// Close flushes and waits for its goroutines until ctx ends, and for reports a tenth of a
// second longer. What isn't in the store by
// then waits in the journal, and is given up without one. Calls that come later go to the
// storage below.
func (s *Storage) Close(ctx context.Context) error {
	defer s.circuits.Close()
	return s.lanes.close(ctx, s.stay, func() { s.reporter.Stop(s) })
}

// GetSession hands out a copy of the session.
func (s *Storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	switch s.Style(ctx) {
	case tiers.StyleSnapshot:
		return s.face.GetSession(ctx, id, ttl)
	case tiers.StyleDirect:
		return s.getKeyed(ctx, id, ttl)
	default:
		return s.inner.GetSession(ctx, id, ttl)
	}
}

// SetSession commits what was changed in the map since it was handed out.
func (s *Storage) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	switch s.Style(ctx) {
	case tiers.StyleSnapshot:
		return s.face.SetSession(ctx, id, data, ttl)
	case tiers.StyleDirect:
		return s.setKeyed(ctx, id, data, ttl)
	default:
		return s.inner.SetSession(ctx, id, data, ttl)
	}
}

// New is passed on.
func (s *Storage) New(ctx context.Context, ttl time.Duration) (string, error) {
	return s.inner.New(ctx, ttl)
}

package local

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/internal/crew"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// flightKey names a load that readers may share. The stamp keeps a reader that comes
// after a write from the flight of one that came before it.
type flightKey struct {
	id    string
	stamp uint64
}

// flights are the loads under way, one for each key. A flight goes on when those that
// wait for it go away, and ends at its time-out or when the tier is closed.
//
// mu guards flying and closing; crew guards itself, and is given work only under mu while
// closing is unset.
type flights struct {
	mu      sync.Mutex
	flying  map[flightKey]*flight
	closing bool
	crew    crew.Crew
	timeout atomic.Int64 // of a load, a time.Duration; readers return then even if the store ignores its context
	ended   context.Context
	end     context.CancelFunc
	tally   *telemetry.Tally
}

// flight is one load. read, err and panicked are written before done is closed.
type flight struct {
	began    int64 // on the tier's clock
	ctx      context.Context
	done     chan struct{}
	read     tiers.Read
	err      error
	panicked any
}

var errLoadTimeout = tiers.NewError("strata: the store did not return from a read in time (LoadTimeout)", context.DeadlineExceeded)

func (f *flights) init(tally *telemetry.Tally, timeout time.Duration) {
	f.tally = tally
	f.timeout.Store(int64(timeout))
	f.flying = map[flightKey]*flight{}
	f.ended, f.end = context.WithCancel(context.Background())
}

// join waits for the key's flight. It starts one if there is none, or if that began before oldest or has been
// cancelled. A panic of the load is raised in each reader that waits.
func (f *flights) join(ctx context.Context, key flightKey, now, oldest int64, load func(context.Context) (tiers.Read, error)) (tiers.Read, error) {
	if err := ctx.Err(); err != nil {
		return tiers.Read{}, err
	}
	f.mu.Lock()
	shared := f.flying[key]
	if shared != nil && shared.began >= oldest && shared.ctx.Err() == nil {
		f.tally.Add(telemetry.SharedReads)
	} else {
		if f.closing {
			f.mu.Unlock()
			return load(ctx)
		}
		shared = f.start(ctx, key, now, load)
	}
	f.mu.Unlock()

	select {
	case <-shared.done:
	case <-ctx.Done():
		return tiers.Read{}, ctx.Err()
	case <-shared.ctx.Done():
		select {
		case <-shared.done:
		default:
			return tiers.Read{}, errLoadTimeout
		}
	}
	if shared.panicked != nil {
		panic(shared.panicked)
	}
	return shared.read, shared.err
}

// start is called under mu.
func (f *flights) start(ctx context.Context, key flightKey, now int64, load func(context.Context) (tiers.Read, error)) *flight {
	ctx, cancel := context.WithTimeout(crew.Within(f.ended, ctx), time.Duration(f.timeout.Load()))
	shared := &flight{began: now, ctx: ctx, done: make(chan struct{}), err: errAborted}
	f.flying[key] = shared
	f.crew.Go(func() {
		defer func() {
			shared.panicked = recover()
			f.land(key, shared)
			close(shared.done)
			cancel()
		}()
		shared.read, shared.err = load(ctx)
	})
	return shared
}

var errAborted = tiers.NewError("strata: the store ended the goroutine of a read", nil)

func (f *flights) land(key flightKey, shared *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flying[key] == shared {
		delete(f.flying, key)
	}
}

// forget keeps later readers from joining the key's flight.
func (f *flights) forget(key flightKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.flying, key)
}

// close waits for the flights until ctx ends, then cancels them. A store that ignores
// its context keeps its goroutine until it returns.
func (f *flights) close(ctx context.Context) error {
	f.mu.Lock()
	f.closing = true
	f.mu.Unlock()
	f.crew.Close()
	landed := make(chan struct{})
	go func() {
		f.crew.Wait()
		close(landed)
	}()
	defer f.end()
	select {
	case <-landed:
		return nil
	case <-ctx.Done():
		return tiers.NewError("strata: reads were still under way when the local tier was closed", ctx.Err())
	}
}

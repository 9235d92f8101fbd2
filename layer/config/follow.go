package config

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/os/gcfg"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/telemetry"
)

// live are the keys whose change takes effect while the program runs.
var live = map[string]bool{
	"local.maxBytes": true, "local.maxStale": true, "local.loadTimeout": true, "local.serveStale": true,
	"coalesced.writeTimeout": true, "coalesced.writeBehind": true, "coalesced.maxPending": true, "coalesced.maxPendingBytes": true,
}

const (
	// settle is how long a file that has changed is left alone: editors write it in parts, and
	// GoFrame, which has just noticed, still forgets what it knew.
	settle = 200 * time.Millisecond
	// again is when a file that could not be read is tried again, as GoFrame doesn't watch such a one.
	again = time.Second
)

// followers gives each follower its name.
var followers atomic.Int64

// follower applies what changes in a chain's group. It belongs to its goroutine.
type follower struct {
	from    *gcfg.Config
	name    string
	chain   *layer.Stack
	values  map[string]string // of the group, by their place, as they are in effect
	failure string            // that was logged last
	log     telemetry.Reporter
}

// follow has a chain follow its group until it is closed, if the configuration can be watched.
func follow(from *gcfg.Config, name string, chain *layer.Stack, group any) {
	adapter, ok := from.GetAdapter().(gcfg.WatcherAdapter)
	if !ok {
		return
	}
	f := &follower{from: from, name: name, chain: chain, values: flatten(group)}
	f.log.Move(telemetry.Standard(), nil)
	changed := make(chan struct{}, 1)
	changed <- struct{}{} // it may have changed since it was read
	watcher := fmt.Sprintf("strata %d", followers.Add(1))
	adapter.AddWatcher(watcher, func(context.Context) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	chain.OnClose(func() {
		adapter.RemoveWatcher(watcher)
		cancel()
		<-ended
	})
	go func() {
		defer close(ended)
		f.run(ctx, changed)
	}()
}

func (f *follower) run(ctx context.Context, changed <-chan struct{}) {
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-retry:
		case <-changed:
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
		}
		retry = nil
		if err := f.look(ctx); err != nil {
			retry = time.After(again)
			if failure := err.Error(); failure != f.failure {
				f.failure = failure
				f.log.Warn(ctx, "", "strata: the configuration has changed and can't be used, so that the chain stays as it is", slog.String("error", failure))
			}
			continue
		}
		f.failure = ""
	}
}

// look applies what has changed since.
func (f *follower) look(ctx context.Context) error {
	of, place, group, err := groupOf(ctx, f.from, f.name)
	if err != nil {
		return err
	}
	now := flatten(group)
	for _, at := range slices.Sorted(maps.Keys(now)) {
		f.say(ctx, place, at, f.values[at], now[at])
	}
	for _, at := range slices.Sorted(maps.Keys(f.values)) {
		if _, ok := now[at]; !ok {
			f.say(ctx, place, at, f.values[at], "")
		}
	}
	f.values = now
	if l, ok := layer.As[interface{ Change(...layer.LocalOption) }](f.chain); ok {
		l.Change(of.local.opts...)
	}
	if l, ok := layer.As[interface {
		Change(...layer.CoalescedOption)
	}](f.chain); ok {
		l.Change(of.coalesced.opts...)
	}
	return nil
}

// say logs what becomes of a change.
func (f *follower) say(ctx context.Context, place, at, before, now string) {
	switch {
	case before == now:
	case live[at] && (at != "coalesced.writeBehind" || before != "" && now != ""): // a chain that writes behind goes on to
		f.log.Info(ctx, "", "strata: a change of the configuration is in effect", slog.String("key", place+"."+at))
	default:
		f.log.Warn(ctx, "", "strata: a change of the configuration needs a restart", slog.String("key", place+"."+at))
	}
}

// flatten returns the values of a group by their place in it.
func flatten(group any) map[string]string {
	values := map[string]string{}
	var walk func(place string, value any)
	walk = func(place string, value any) {
		section, ok := value.(map[string]any)
		if !ok {
			values[place] = fmt.Sprint(value)
			return
		}
		for name, inner := range section {
			walk(strings.TrimPrefix(place+"."+name, "."), inner)
		}
	}
	walk("", group)
	return values
}

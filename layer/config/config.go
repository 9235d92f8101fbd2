// Package config builds a chain from GoFrame's configuration file. With
//
//	strata:
//	  default:
//	    store: redis          # redis, redisHashTable, file or memory
//	    redis: session        # the group below "redis:", "default" if it isn't named
//	    prefix: "app:"
//	    coalesced: {writeBehind: 50ms, journal: /var/lib/app/sessions}
//	    local: {maxBytes: 64MiB, maxStale: 1s}
//	    traced: false         # leaves the layer out
//	    indexed: {limit: 3, atLimit: endOldest} # or true; left out unless it is named
//	    web: {idle: 30m, absolute: 12h, cookie: {sameSite: strict}, signed: [SESSION_KEY]}
//	  old:
//	    store: redisHashTable
//	    snapshots: true       # layer.Snapshots(), which web needs over this store
//	  single:
//	    store: file
//	    folder: /var/lib/app  # where the files are, GoFrame's temporary folder if it isn't named
//	    ttl: 24h              # after which the files of idle sessions are removed: the server's sessionMaxAge
//
// a program writes
//
//	chain, err := config.Chain(ctx, "default")
//	sessions, err := config.Web(ctx, "default", chain) // server.Use(sessions)
//
// The chain is layer.Chain(store, layer.Coalesced(), layer.Local(), layer.Traced()). Each other key is the
// option of the same name, with a small first letter; docs/options.md has them all, and watchLease stands
// beside prefix. Durations and sizes are texts with a unit, such as "500ms" and "64MiB". A key that doesn't
// exist, or a value that its option doesn't take, is an error that says where it stands.
//
// The address and the password of Redis stay below "redis:", where GoFrame reads them. The
// program imports github.com/gogf/gf/contrib/nosql/redis/v2 as for g.Redis(). The keys that sign
// ids stand in the environment: signed has the names of its variables, whose values are base64.
//
// Whose a session is, indexed knows from web.Login. Options that are functions (OnGiveUp, Invalidation, TracerProvider, MeterProvider, Logger)
// have no key: build such a chain with layer.Chain. Web takes such options as arguments (OnError).
package config

import (
	"context"
	"fmt"
	"time"

	"github.com/gogf/gf/v2/database/gredis"
	"github.com/gogf/gf/v2/frame/g"
	"github.com/gogf/gf/v2/os/gcfg"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// Root is the key of the configuration below which the groups stand.
const Root = "strata"

// Chain builds the chain of a group of g.Cfg(), "default" if the name is empty. Close the chain when
// the server has stopped, as one that layer.Chain has made.
//
// Changes of the local maxBytes, maxStale, loadTimeout and serveStale, and of the coalesced
// writeTimeout, writeBehind (not from or to none), maxPending and maxPendingBytes take effect while
// the program runs, if the configuration can be watched, as GoFrame's files can. Other changes
// are logged as in need of a restart, and so is a configuration that can't be used any more.
func Chain(ctx context.Context, name string) (*layer.Stack, error) {
	return ChainOf(ctx, g.Cfg(), name)
}

// ChainOf builds the chain of a group of another configuration.
func ChainOf(ctx context.Context, from *gcfg.Config, name string) (chain *layer.Stack, err error) {
	of, place, raw, err := groupOf(ctx, from, name)
	if err != nil {
		return nil, err
	}
	store, err := of.open(place)
	if err != nil {
		return nil, err
	}
	chain, err = layer.New(store, of.decorators()...)
	if err != nil { // a journal that can't be opened
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	follow(from, name, chain, raw)
	return chain, nil
}

// groupOf reads a group and returns where it stands.
func groupOf(ctx context.Context, from *gcfg.Config, name string) (of *group, place string, raw any, err error) {
	if name == "" {
		name = "default"
	}
	place = Root + "." + name
	value, err := from.Get(ctx, place)
	if err != nil {
		return nil, place, nil, fmt.Errorf("strata: the configuration can't be read: %w", err)
	}
	if value.IsNil() {
		return nil, place, nil, fmt.Errorf("strata: the configuration has no %s; write one, such as %s: {store: redis, prefix: \"app:\"}", place, place)
	}
	of = &group{}
	return of, place, value.Val(), read(place, value.Val(), of.keys())
}

// group holds the settings of a group of the configuration.
type group struct {
	store, redis, prefix string
	folder               string
	ttl                  time.Duration // after which GoFrame removes the files of idle sessions

	watch     []redisstore.Option
	coalesced layerConfig[layer.CoalescedOption]
	local     layerConfig[layer.LocalOption]
	traced    layerConfig[layer.TracedOption]
	indexed   indexedConfig
	web       webConfig
	snapshots bool
}

// layerConfig holds the settings of one layer. A layer is there unless its key is false.
type layerConfig[O any] struct {
	out  bool
	opts []O
}

func (c *layerConfig[O]) add(opt O) { c.opts = append(c.opts, opt) }

// keys returns the keys that a group may have.
func (g *group) keys() keys {
	return keys{
		"store":      text(&g.store),
		"redis":      text(&g.redis),
		"prefix":     text(&g.prefix),
		"folder":     text(&g.folder),
		"ttl":        duration(func(d time.Duration) { g.ttl = d }),
		"watchLease": duration(func(d time.Duration) { g.watch = append(g.watch, redisstore.WatchLease(d)) }),
		"snapshots":  flag(func(on bool) { g.snapshots = on }),
		"coalesced": section(&g.coalesced.out, keys{
			"writeTimeout":    duration(func(d time.Duration) { g.coalesced.add(layer.WriteTimeout(d)) }),
			"writeBehind":     duration(func(d time.Duration) { g.coalesced.add(layer.WriteBehind(d)) }),
			"maxPending":      count(func(n int) { g.coalesced.add(layer.MaxPending(n)) }),
			"maxPendingBytes": size(func(n int64) { g.coalesced.add(layer.MaxPendingBytes(n)) }),
			"slideEvery":      fraction(func(part float64) { g.coalesced.add(layer.SlideEvery(part)) }),
			"journal":         word(func(dir string) { g.coalesced.add(layer.Journal(dir)) }),
		}),
		"local": section(&g.local.out, keys{
			"maxBytes":    size(func(n int64) { g.local.add(layer.MaxBytes(n)) }),
			"maxStale":    duration(func(d time.Duration) { g.local.add(layer.MaxStale(d)) }),
			"loadTimeout": duration(func(d time.Duration) { g.local.add(layer.LoadTimeout(d)) }),
			"serveStale":  duration(func(d time.Duration) { g.local.add(layer.ServeStale(d)) }),
			"audited":     fraction(func(part float64) { g.local.add(layer.Audited(part)) }),
			"exclusive":   yes(func() { g.local.add(layer.Exclusive()) }),
			"warmRestart": word(func(path string) { g.local.add(layer.WarmRestart(path)) }),
		}),
		"traced": section(&g.traced.out, keys{
			"rootSpans": yes(func() { g.traced.add(layer.RootSpans()) }),
		}),
		"indexed": g.indexed.section(),
		"web":     g.web.section(),
	}
}

// open makes the store.
func (g *group) open(place string) (gsession.Storage, error) {
	onRedis := g.store == "redis" || g.store == "redisHashTable"
	switch {
	case !onRedis && g.store != "file" && g.store != "memory":
		return nil, fmt.Errorf("strata: %s.store is %q; write redis, redisHashTable, file or memory", place, g.store)
	case g.store != "file" && (g.folder != "" || g.ttl != 0):
		return nil, fmt.Errorf("strata: %s: folder and ttl are for store: file; take them out", place)
	case !onRedis && (g.redis != "" || g.prefix != ""):
		return nil, fmt.Errorf("strata: %s: redis and prefix are for the stores redis and redisHashTable; take them out, or write store: redis", place)
	case g.store != "redis" && len(g.watch) > 0:
		return nil, fmt.Errorf("strata: %s.watchLease is for store: redis; take it out", place)
	case g.store == "memory":
		return gsession.NewStorageMemory(), nil
	case g.store == "file":
		return g.openFile(place)
	}
	client, err := client(place, g.redis)
	if err != nil {
		return nil, err
	}
	if g.store == "redisHashTable" {
		return gsession.NewStorageRedisHashTable(client, g.prefix), nil
	}
	return redisstore.FromGoFrame(client, append(g.watch, redisstore.Prefix(g.prefix))...), nil
}

func (g *group) openFile(place string) (store gsession.Storage, err error) {
	if g.ttl <= 0 {
		return nil, fmt.Errorf("strata: %s needs a ttl, after which the files of idle sessions are removed; write the server's sessionMaxAge, such as ttl: 24h", place)
	}
	defer func() {
		if recover() != nil {
			store, err = nil, fmt.Errorf("strata: %s.folder can't be used; make a folder that this process may write to", place)
		}
	}()
	return gsession.NewStorageFile(g.folder, g.ttl), nil
}

// client is GoFrame's client of a group below "redis:".
func client(place, name string) (client *gredis.Redis, err error) {
	if name == "" {
		name = gredis.DefaultGroupName
	}
	defer func() {
		// g.Redis panics if the group can't be read or the adapter isn't imported; its text may
		// quote the configuration.
		if recover() != nil || client == nil {
			client, err = nil, fmt.Errorf("strata: %s: the configuration has no usable redis.%s; write redis: {%s: {address: \"host:6379\"}}, and import github.com/gogf/gf/contrib/nosql/redis/v2", place, name, name)
		}
	}()
	return g.Redis(name), nil
}

// decorators returns the group's decorators, in the order of the README.
func (g *group) decorators() (all []layer.Decorator) {
	if g.snapshots {
		all = append(all, layer.Snapshots())
	}
	if !g.coalesced.out {
		all = append(all, layer.Coalesced(g.coalesced.opts...))
	}
	if !g.local.out {
		all = append(all, layer.Local(g.local.opts...))
	}
	if g.indexed.in {
		all = append(all, layer.Indexed(nil, g.indexed.options()...))
	}
	if !g.traced.out {
		all = append(all, layer.Traced(g.traced.opts...))
	}
	return all
}

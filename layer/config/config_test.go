package config_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	_ "github.com/gogf/gf/contrib/nosql/redis/v2"
	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/database/gredis"
	"github.com/gogf/gf/v2/os/gcfg"
	"github.com/gogf/gf/v2/os/gfsnotify"
	"go.uber.org/goleak"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/decorators/index"
	"github.com/gf-strata/strata/decorators/trace"
	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/config"
	"github.com/gf-strata/strata/tiers/local"
	"github.com/gf-strata/strata/tiers/redisstore"
)

func TestMain(m *testing.M) {
	_, _ = gfsnotify.Add(".", func(*gfsnotify.Event) {}) // GoFrame's watcher of files stays for good
	leaktest.Main(m,
		goleak.IgnoreTopFunction("github.com/redis/go-redis/v9/maintnotifications.(*CircuitBreakerManager).cleanupLoop")) // a client's that GoFrame keeps
}

var ctx = context.Background()

// parse makes a configuration of a text in YAML.
func parse(t *testing.T, yaml string) *gcfg.Config {
	t.Helper()
	adapter, err := gcfg.NewAdapterContent("name: \"shop\"\n" + yaml) // so that GoFrame sees that it is YAML
	if err != nil {
		t.Fatal(err)
	}
	return gcfg.NewWithAdapter(adapter)
}

func TestChainOverRedis(t *testing.T) {
	server := redistest.Start(t)
	group := "session " + server.Addr() // GoFrame keeps a group's client for good
	gredis.SetConfig(&gredis.Config{Address: server.Addr()}, group)
	t.Cleanup(func() { gredis.RemoveConfig(group) })
	c := parse(t, `
strata:
  default:
    store: redis
    redis: "`+group+`"
    prefix: "app:"
    watchLease: 400ms
    coalesced: {writeTimeout: 2s, maxPendingBytes: 8MiB, slideEvery: 0.2}
    local: {maxBytes: 16 MiB, maxStale: 0, audited: 0.5}
    traced: {rootSpans: true}
`)
	chain, err := config.ChainOf(ctx, c, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	if err := chain.SetSession(ctx, "a", gmap.NewStrAnyMapFrom(map[string]any{"n": "1"}, true), time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := server.Client().Get(ctx, "app:a").Val(); got != `{"n":"1"}` {
		t.Errorf("the store holds %q", got)
	}
	for _, found := range []bool{has[*coalesce.Storage](chain), has[*local.Storage](chain), has[*trace.Storage](chain), has[*redisstore.Storage](chain)} {
		if !found {
			t.Error("a layer is missing")
		}
	}
}

func has[T any](chain *layer.Stack) bool { _, ok := layer.As[T](chain); return ok }

func TestFalseLeavesALayerOut(t *testing.T) {
	chain, err := config.ChainOf(ctx, parse(t, `strata: {shop: {store: memory, coalesced: false, traced: false, local: true}}`), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = chain.Close(ctx) }()
	if has[*coalesce.Storage](chain) || has[*trace.Storage](chain) || !has[*local.Storage](chain) {
		t.Error("not the layers that were asked for")
	}
}

// The index is there if it is named.
func TestIndexed(t *testing.T) {
	for section, want := range map[string]bool{"": false, "indexed: false": false, "indexed: true": true, "indexed: {limit: 2}": true, "indexed: {limit: 1, atLimit: refuseNew, perDeviceClass: true, keepReasons: 1h, longestSession: 48h}": true} {
		chain, err := config.ChainOf(ctx, parse(t, "strata: {default: {store: memory, "+section+"}}"), "")
		if err != nil {
			t.Fatalf("%s: %v", section, err)
		}
		if has[*index.Storage](chain) != want {
			t.Errorf("%s: the index is there: %v", section, !want)
		}
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

func TestFileStore(t *testing.T) {
	dir := t.TempDir()
	chain, err := config.ChainOf(ctx, parse(t, fmt.Sprintf(`strata: {default: {store: file, folder: %q, ttl: 1h}}`, dir)), "default")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = chain.Close(ctx) }()
	if err := chain.SetSession(ctx, "a", gmap.NewStrAnyMapFrom(map[string]any{"n": "1"}, true), time.Hour); err != nil {
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "*")); len(found) == 0 {
		t.Error("nothing was written to the folder")
	}
}

func TestMistakesSayWhereAndWhatInstead(t *testing.T) {
	for yaml, want := range map[string][]string{
		`a: 1`: {"strata.default", "store: redis"},
		`strata: {default: {store: redis, locl: {}}}`:                         {"strata.default.locl", "write one of coalesced, folder, indexed, local,"},
		`strata: {default: {store: memory, local: {maxbyte: 1}}}`:             {"strata.default.local.maxbyte", "loadTimeout, maxBytes, maxStale"},
		`strata: {default: {store: memory, local: {maxBytes: lots}}}`:         {"strata.default.local.maxBytes", "64MiB"},
		`strata: {default: {store: memory, local: {maxBytes: 0}}}`:            {"strata.default.local.maxBytes", "positive"},
		`strata: {default: {store: memory, local: {maxStale: 5}}}`:            {"strata.default.local.maxStale", "unit"},
		`strata: {default: {store: memory, local: {maxStale: -1s}}}`:          {"strata.default.local.maxStale", "negative"},
		`strata: {default: {store: memory, local: {audited: often}}}`:         {"strata.default.local.audited", "0.1"},
		`strata: {default: {store: memory, local: {audited: 2}}}`:             {"strata.default.local.audited", "at most 1"},
		`strata: {default: {store: memory, local: {exclusive: maybe}}}`:       {"strata.default.local.exclusive", "true or false"},
		`strata: {default: {store: memory, local: 3}}`:                        {"strata.default.local", "section"},
		`strata: {default: {store: memory, coalesced: {maxPending: 1.5}}}`:    {"strata.default.coalesced.maxPending", "whole number"},
		`strata: {default: {store: memory, coalesced: {journal: 7}}}`:         {"strata.default.coalesced.journal", "a text"},
		`strata: {default: {store: memory, indexed: {limt: 3}}}`:              {"strata.default.indexed.limt", "keepReasons, limit,"},
		`strata: {default: {store: memory, indexed: {limit: 0}}}`:             {"strata.default.indexed"},
		`strata: {default: {store: memory, indexed: {atLimit: refuseNew}}}`:   {"strata.default.indexed", "limit: 3"},
		`strata: {default: {store: memory, indexed: {limit: 1, atLimit: x}}}`: {"strata.default.indexed.atLimit", "endOldest or refuseNew"},
		`strata: {default: {store: redis7}}`:                                  {"strata.default.store", "redis, redisHashTable, file or memory"},
		`strata: {default: {}}`:                                               {"strata.default.store", "redis, redisHashTable, file or memory"},
		`strata: {default: 5}`:                                                {"strata.default", "section"},
		`strata: {default: {store: memory, prefix: "app:"}}`:                  {"strata.default", "store: redis"},
		`strata: {default: {store: memory, ttl: 1h}}`:                         {"strata.default", "store: file"},
		`strata: {default: {store: redis, folder: x}}`:                        {"strata.default", "store: file"},
		`strata: {default: {store: file}}`:                                    {"strata.default", "ttl: 24h"},
		`strata: {default: {store: file, folder: /nowhere/at/all, ttl: 1h}}`:  {"strata.default.folder", "folder that this process may write to"},
		`strata: {default: {store: redis, redis: absent}}`:                    {"strata.default", "redis.absent", "contrib/nosql/redis"},
		`strata: {default: {store: redis, redis: absent, watchLease: 1ms}}`:   {"strata.default.watchLease"},
		`strata: {default: {store: memory, watchLease: 1s}}`:                  {"strata.default.watchLease", "store: redis"},
		`strata: {default: {store: redisHashTable, watchLease: 1s}}`:          {"strata.default.watchLease", "store: redis"},
		`strata: {default: {store: redisHashTable, redis: absent}}`:           {"strata.default", "redis.absent"},
	} {
		chain, err := config.ChainOf(ctx, parse(t, yaml), "default")
		if err == nil {
			t.Errorf("%s is taken", yaml)
			_ = chain.Close(ctx)
			continue
		}
		for _, part := range append(want, "strata: ") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q doesn't mention %q", yaml, err, part)
			}
		}
	}
}

// Each option of the layers that a text can express has a key, and the key works.
func TestEveryOptionHasAKey(t *testing.T) {
	var options []string
	for _, file := range []string{"../coalesced.go", "../local.go", "../traced.go", "../indexed.go"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(?m)^func (\w+)\(([^)]*)\) (?:Coalesced|Local|Traced|Indexed)Option`).FindAllStringSubmatch(string(content), -1) {
			if !regexp.MustCompile(`func|Source|Provider|Logger`).MatchString(found[2]) {
				options = append(options, found[1])
			}
		}
	}
	if len(options) < 12 {
		t.Fatalf("found only %v", options)
	}
	var content []byte
	for _, file := range []string{"config.go", "indexed.go"} {
		part, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, part...)
	}
	for _, option := range options {
		key := strings.ToLower(option[:1]) + option[1:]
		if !strings.Contains(string(content), `"`+key+`":`) || !strings.Contains(string(content), "layer."+option+"(") {
			t.Errorf("layer.%s has no key %s", option, key)
		}
	}
}

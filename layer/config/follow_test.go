package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gogf/gf/v2/frame/g"
	"github.com/gogf/gf/v2/os/gcfg"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers/local"
)

func memoryLimit(chain *layer.Stack) (limit int64) {
	l, _ := layer.As[*local.Storage](chain)
	l.Gauges(func(g telemetry.Gauge, value float64) {
		if g == telemetry.MemoryLimit {
			limit = int64(value)
		}
	})
	return limit
}

func TestChangesOfTheFileTakeEffect(t *testing.T) {
	var log teststore.Log
	before := g.Log().GetWriter()
	g.Log().SetWriter(&log)
	g.Log().SetStdoutPrint(false)
	t.Cleanup(func() { g.Log().SetWriter(before); g.Log().SetStdoutPrint(true) })

	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	write := func(path, text string, values ...any) {
		t.Helper()
		if err := os.WriteFile(path, []byte(fmt.Sprintf(text, values...)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const text = "strata: {default: {store: memory, local: {maxBytes: %s}, coalesced: {writeTimeout: %s}}}\n"
	write(path, text, "1MiB", "1s")
	adapter, err := gcfg.NewAdapterFile(path)
	if err != nil {
		t.Fatal(err)
	}
	chain := chainOf(t, gcfg.NewWithAdapter(adapter))
	if n := memoryLimit(chain); n != 1<<20 {
		t.Fatalf("%d bytes at first", n)
	}

	write(path, text, "2MiB", "1s")
	poll.Until(t, "the file's new bound", func() bool { return memoryLimit(chain) == 2<<20 })
	poll.Until(t, "a line about it", func() bool { return strings.Contains(log.String(), "in effect key=strata.default.local.maxBytes") })

	write(path, "strata: {default: {store: memory, local: {maxBytes: lots}}}\n")
	poll.Until(t, "a line about a value that can't be used", func() bool { return strings.Contains(log.String(), "can't be used") })
	write(path, ": : :")
	write(path, text, "3MiB", "1s")
	poll.Until(t, "the bound of a file that was mended", func() bool { return memoryLimit(chain) == 3<<20 })

	// As editors save.
	write(path+"~", text, "4MiB", "2s")
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "the bound of a file that was replaced", func() bool { return memoryLimit(chain) == 4<<20 })

	log.Reset()
	write(path, "strata: {default: {store: file, ttl: 1h, local: {}, coalesced: {writeBehind: 1s}, traced: false}}\n")
	poll.Until(t, "the default, as the key has gone", func() bool { return memoryLimit(chain) == 64<<20 })
	for _, key := range []string{"store", "ttl", "traced", "coalesced.writeBehind"} {
		poll.Until(t, "a line about "+key, func() bool { return strings.Contains(log.String(), "needs a restart key=strata.default."+key) })
	}
	if err := chain.Close(ctx); err != nil {
		t.Error(err)
	}
	if names := adapter.GetWatcherNames(); len(names) != 0 {
		t.Errorf("a closed chain still watches: %v", names)
	}
}

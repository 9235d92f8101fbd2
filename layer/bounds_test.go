package layer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Short values of forms of 100 KiB, ids in headers of 8 KiB, ids that are made up and ids
// that are long, through a real server: what a chain keeps of them stays within its bounds.
func TestRequestsAreNotKept(t *testing.T) {
	const (
		maxBytes = 1 << 20
		tables   = 5 << 20 // the guard, absent ids, and expiries and removals of so few
	)
	ctx := context.Background()
	server := redistest.Start(t)
	chain := layer.Chain(redisstore.New(server.Client()), layer.Coalesced(), layer.Local(layer.MaxBytes(maxBytes)))
	defer func() { _ = chain.Close(ctx) }()
	web := ghttp.GetServer("bounds")
	web.SetDumpRouterMap(false)
	web.SetLogStdout(false)
	web.SetAddr("127.0.0.1:0")
	web.SetSessionStorage(chain)
	web.SetMaxHeaderBytes(64 << 10)
	web.BindHandler("/form", func(r *ghttp.Request) { r.Session.MustSet("name", r.GetForm("name").String()) })
	web.BindHandler("/read", func(r *ghttp.Request) { r.Session.MustGet("name") })
	web.BindHandler("/out", func(r *ghttp.Request) { _ = r.Session.RemoveAll() })
	if err := web.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = web.Shutdown() }()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	pad := strings.Repeat("p", 8<<10)
	visit := func(path, id, body string) {
		r, err := http.NewRequest(http.MethodPost, fmt.Sprint("http://127.0.0.1:", web.GetListenedPort(), path), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Cookie", "pad="+pad+"; gfsessionid="+id)
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
	blob := "&blob=" + strings.Repeat("b", 100<<10)
	visit("/form", "first", "name=john"+blob)
	before := heap()
	for n := range 1000 {
		id := fmt.Sprint("user", n)
		if err := chain.SetSession(ctx, id, gmap.NewStrAnyMapFrom(map[string]any{"n": n}, true), time.Hour); err != nil {
			t.Fatal(err)
		}
		visit("/form", id, fmt.Sprint("name=john", n, blob))
		visit("/read", id, "")
	}
	for n := range 3000 {
		visit("/read", fmt.Sprint("made-up", n), "")
		visit("/read", fmt.Sprint(strings.Repeat("long", 100), n), "")
		if n%4 == 0 {
			visit("/out", fmt.Sprint("left", n), "")
		}
	}
	client.CloseIdleConnections()
	if grown, most := heap()-before, int64(3*(maxBytes+tables)/2); grown > most {
		t.Errorf("the heap has grown by %d MiB, want at most %d", grown>>20, most>>20)
	} else {
		t.Logf("the heap has grown by %.1f MiB of %d", float64(grown)/(1<<20), most>>20)
	}
	runtime.KeepAlive(chain)
}

// absentStore is a store that takes no writes.
type absentStore struct{ gsession.StorageBase }

func (*absentStore) GetSession(context.Context, string, time.Duration) (*gmap.StrAnyMap, error) {
	return nil, nil
}

func (*absentStore) SetSession(context.Context, string, *gmap.StrAnyMap, time.Duration) error {
	return errors.New("away")
}

// Changes that wait are counted for what they keep, and keep no more.
func TestPendingChangesAreNotTheRequests(t *testing.T) {
	const maxPending = 4 << 20
	ctx := context.Background()
	chain := layer.Chain(&absentStore{}, layer.Coalesced(layer.WriteBehind(time.Hour), layer.MaxPendingBytes(maxPending)))
	defer func() {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_ = chain.Close(ended)
	}()
	before := heap()
	for n := range 2000 {
		body := strings.Repeat("b", 100<<10)
		header := fmt.Sprint(strings.Repeat("h", 8<<10), n)
		m := gmap.NewStrAnyMapFrom(map[string]any{body[:4]: body[100:110]}, true)
		if err := chain.SetSession(ctx, header[8<<10-16:], m, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if grown := heap() - before; grown > 3*maxPending/2 {
		t.Errorf("the heap has grown by %d KiB, want at most %d", grown>>10, 3*maxPending/2>>10)
	} else {
		t.Logf("the heap has grown by %d KiB of %d", grown>>10, maxPending>>10)
	}
	runtime.KeepAlive(chain)
}

// everyID is a store that has a session under each id.
type everyID struct{ gsession.StorageBase }

func (*everyID) GetSession(context.Context, string, time.Duration) (*gmap.StrAnyMap, error) {
	return gmap.NewStrAnyMapFrom(map[string]any{"u": 1, "name": "john"}, true), nil
}

func (*everyID) SetSession(context.Context, string, *gmap.StrAnyMap, time.Duration) error { return nil }

// Whatever the ids and the sessions are, what memory holds takes what it may take.
func TestMaxBytesIsTheHeap(t *testing.T) {
	const maxBytes, tables = 8 << 20, 3 << 20
	ctx := context.Background()
	for _, size := range []int{10, 500} {
		before := heap()
		chain := layer.Chain(&everyID{}, layer.Local(layer.MaxBytes(maxBytes), layer.MaxStale(time.Hour)))
		pad := strings.Repeat("i", size)
		for n := range 40_000 {
			if m, err := chain.GetSession(ctx, fmt.Sprint(pad, n), time.Hour); m == nil || err != nil {
				t.Fatal(m, err)
			}
		}
		grown := heap() - before
		t.Logf("ids of %d bytes: the heap has grown by %.1f MiB of %d", size, float64(grown)/(1<<20), maxBytes>>20)
		if grown > 3*(maxBytes+tables)/2 {
			t.Errorf("ids of %d bytes: the heap has grown by %d MiB, want at most %d", size, grown>>20, 3*(maxBytes+tables)/2>>20)
		}
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

package layer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
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
	chain := layer.Chain(&absentStore{}, patientCoalesced(layer.WriteBehind(time.Hour), layer.MaxPendingBytes(maxPending)))
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
		chain := layer.Chain(&everyID{}, patientLocal(layer.MaxBytes(maxBytes), layer.MaxStale(time.Hour)))
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

// someIDs is a store that has a session under each id that has a known one in it, and keeps none.
type someIDs struct{ gsession.StorageBase }

func (*someIDs) GetSession(_ context.Context, id string, _ time.Duration) (*gmap.StrAnyMap, error) {
	if !strings.Contains(id, "known") {
		return nil, nil
	}
	return gmap.NewStrAnyMapFrom(map[string]any{"u": "1", "name": "john"}, true), nil
}

func (*someIDs) SetSession(context.Context, string, *gmap.StrAnyMap, time.Duration) error { return nil }
func (*someIDs) RemoveAll(context.Context, string) error                                  { return nil }
func (*someIDs) UpdateTTL(context.Context, string, time.Duration) error                   { return nil }

// tablesBytes is the memory that a chain takes at most by its documentation, beside MaxBytes.
const tablesBytes = 3<<20 + // the guard, and 4,096 ids without a session
	2<<20 + // ristretto's counters, for MaxBytes
	5<<20 + // expiries, of Coalesced
	5<<20 // removals, and ids without a session of which a map may come: 32,768 twice each

// wantHeap compares what the heap has grown by with the sum of the bounds.
func wantHeap(t *testing.T, before int64, maxBytes int64) {
	t.Helper()
	grown, sum := heap()-before, maxBytes+tablesBytes
	t.Logf("the heap has grown by %.1f MiB, the bounds are %d", float64(grown)/(1<<20), sum>>20)
	if grown > 3*sum/2 {
		t.Errorf("the heap has grown by %d MiB, want at most %d", grown>>20, 3*sum/2>>20)
	}
}

// requestsEnv is how many requests TestManyRequestsKeepTheHeapWithinTheBounds makes, if it is to run
// for longer.
const requestsEnv = "STRATA_TEST_REQUESTS"

// After hundreds of thousands of requests, a chain takes at most one and a half times the sum of its
// bounds: ids that are parts of headers, known, made up or long, values that are
// parts of them as well, log-ins and log-outs.
func TestManyRequestsKeepTheHeapWithinTheBounds(t *testing.T) {
	const maxBytes = 8 << 20
	requests := 200_000
	if long := os.Getenv(requestsEnv); long != "" {
		n, err := strconv.Atoi(long)
		if err != nil {
			t.Fatal(err)
		}
		requests = n
	}
	ctx := context.Background()
	before := heap()
	chain := layer.Chain(&someIDs{}, patientCoalesced(), patientLocal(layer.MaxBytes(maxBytes), layer.MaxStale(time.Hour)))
	defer func() { _ = chain.Close(ctx) }()
	header := make([]byte, 32<<10)
	for n := range requests {
		kind, length := "made-up", 0
		switch n % 10 {
		case 0, 1, 2, 3:
			kind = "known"
		case 4:
			length = 480
		}
		id := fmt.Sprintf("%s%0*d", kind, length, n)
		copy(header[100:], id)
		id = string(header)[100 : 100+len(id)]
		m, err := chain.GetSession(ctx, id, time.Hour)
		switch {
		case err != nil:
		case n%20 == 0 || n%20 == 5: // a log-in, of what was made up too
			if m == nil {
				m = gmap.NewStrAnyMap(true)
			}
			m.Set(id[:5], id)
			err = chain.SetSession(ctx, id, m, time.Hour)
		case n%20 == 1 || n%20 == 11:
			err = chain.RemoveAll(ctx, id)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	wantHeap(t, before, maxBytes)
	runtime.KeepAlive(chain)
}

// The same through a real server and connections that are used again, over Redis: forms of
// 50 KiB, cookies of 24.
func TestManyVisitsKeepTheHeapWithinTheBounds(t *testing.T) {
	const (
		maxBytes = 16 << 20
		visits   = 20_000
		workers  = 2
	)
	ctx := context.Background()
	server := redistest.Start(t)
	before := heap()
	chain := layer.Chain(redisstore.New(server.Client()), patientCoalesced(), patientLocal(layer.MaxBytes(maxBytes)))
	defer func() { _ = chain.Close(ctx) }()
	web := ghttp.GetServer("many visits " + gsession.NewSessionId())
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
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	defer client.CloseIdleConnections()
	pad := strings.Repeat("p", 24<<10)
	body := "name=" + strings.Repeat("john", 10) + "&blob=" + strings.Repeat("b", 50<<10)
	visit := func(n int) error {
		path, id, form := "/read", fmt.Sprint("visitor", n/10), ""
		switch n % 10 {
		case 0:
			path, form = "/form", body
			m := gmap.NewStrAnyMapFrom(map[string]any{"n": n}, true) // ghttp makes ids of its own for new sessions
			if err := chain.SetSession(ctx, id, m, time.Hour); err != nil {
				return err
			}
		case 5, 6, 7, 8:
			id = fmt.Sprint("made-up", n)
		case 9:
			if n%100 == 9 {
				path = "/out"
			}
		}
		r, err := http.NewRequest(http.MethodPost, fmt.Sprint("http://127.0.0.1:", web.GetListenedPort(), path), strings.NewReader(form))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Cookie", "pad="+pad+"; gfsessionid="+id)
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		return errors.Join(err, answer.Body.Close())
	}
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for n := w * visits / workers; n < (w+1)*visits/workers; n++ {
				if err := visit(n); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	client.CloseIdleConnections()
	wantHeap(t, before, maxBytes)
	runtime.KeepAlive(chain)
}

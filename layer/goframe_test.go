package layer_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/glog"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
)

// goframeLog is where GoFrame's default log goes. A chain that another test has left logs at any
// time, while the logger's own settings aren't to be changed.
var goframeLog redirected

type redirected struct{ to atomic.Pointer[teststore.Log] }

func (r *redirected) Write(p []byte) (int, error) {
	if l := r.to.Load(); l != nil {
		return l.Write(p)
	}
	return os.Stderr.Write(p)
}

// defaultLog takes GoFrame's default log for the time of the test, which mustn't be parallel.
func defaultLog(t *testing.T) *teststore.Log {
	l := &teststore.Log{}
	goframeLog.to.Store(l)
	t.Cleanup(func() { goframeLog.to.Store(nil) })
	return l
}

// GoFrame's own stores quote ids and contents in their errors. None of it comes further, and
// the default log shows that something failed.
func TestThereIsNoAdviceForGoFramesStores(t *testing.T) {
	const (
		prefix = "prefix-81c2f0:"
		id     = "id-7f3a9c"
		key    = "key-5d20e1"
		value  = "value-c48b6f"
	)
	leaks := func(text string) string {
		for _, secret := range []string{prefix, id, key, value} {
			if at := strings.Index(text, secret); at >= 0 {
				return text[max(0, at-200):min(len(text), at+100)]
			}
		}
		return ""
	}
	ctx := context.Background()
	log := defaultLog(t)
	glog.Instance().Warning(ctx, id)
	if leaks(log.String()) == "" {
		t.Fatal("the log isn't looked at")
	}
	log.Reset()
	server := redistest.Start(t)
	dir := t.TempDir()
	for name, c := range map[string]struct {
		store gsession.Storage
		spoil func()
	}{
		"redis": {gsession.NewStorageRedis(server.GoFrame(t), prefix), server.Stop},
		"table": {gsession.NewStorageRedisHashTable(server.GoFrame(t), prefix), server.Stop},
		"file": {gsession.NewStorageFile(dir, time.Hour), func() {
			_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					err = errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, value), 0o700))
				}
				return err
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server.Restart(t)
			o, traced := observe()
			said := func(err error) {
				if err != nil {
					o.errors = append(o.errors, err)
				}
			}
			chain := layer.Chain(c.store, patientCoalesced(), patientLocal(layer.MaxStale(0)),
				layer.Traced(layer.TracerProvider(o.tracer), layer.RootSpans()))
			reported := layer.Chain(c.store, traced, patientCoalesced(), patientLocal(layer.MaxStale(0)))
			use := func() {
				for _, chain := range []*layer.Stack{chain, reported} {
					s := gsession.New(time.Hour, chain).New(ctx, id)
					said(s.Set(key, value))
					said(s.Close())
					_, err := gsession.New(time.Hour, chain).New(ctx, id).Get(key)
					said(err)
					said(chain.SetSession(ctx, id, gmap.NewStrAnyMapFrom(map[string]any{key: value}), time.Hour))
					said(chain.UpdateTTL(ctx, id, time.Hour))
				}
			}
			use()
			if len(o.errors) > 0 {
				t.Fatalf("while nothing is wrong: %v", o.errors)
			}
			c.spoil()
			use()
			said(chain.RemoveAll(ctx, id))
			said(chain.Close(ctx))
			said(reported.Close(ctx))
			if len(o.errors) < 2 || len(o.spans.GetSpans()) < 10 {
				t.Fatalf("only %d errors and %d spans", len(o.errors), len(o.spans.GetSpans()))
			}
			if leak := leaks(log.String() + o.everything(t)); leak != "" {
				t.Errorf("shown: …%s…", leak)
			}
		})
	}
	// The log is rare: another test may have said it just before.
	failing := layer.Chain(unslid{gsession.NewStorageMemory()})
	if !poll.Try(func() bool {
		_ = failing.UpdateTTL(ctx, id, time.Hour)
		return strings.Contains(log.String(), "could not be")
	}) {
		t.Errorf("the default log has %q", log)
	}
}

// unslid is a memory store that slides no expiry.
type unslid struct{ *gsession.StorageMemory }

func (unslid) UpdateTTL(context.Context, string, time.Duration) error { return errors.New("secret") }

// ghttp closes a session when the response has been sent, and drops the error of it.
func TestErrorsThatGhttpDropsAreLogged(t *testing.T) {
	traced, log := logged()
	chain := layer.Chain(unslid{gsession.NewStorageMemory()}, patientLocal(), traced)
	defer func() { _ = chain.Close(context.Background()) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := ghttp.GetServer("dropped " + listener.Addr().String())
	if err := errors.Join(
		server.SetConfigWithMap(map[string]any{"dumpRouterMap": false, "accessLogEnabled": false}),
		server.SetListener(listener), server.Logger().SetLevelStr("error"),
	); err != nil {
		t.Fatal(err)
	}
	server.SetSessionStorage(chain)
	server.BindHandler("/write", func(r *ghttp.Request) { _ = r.Session.Set("k", 1) })
	server.BindHandler("/read", func(r *ghttp.Request) { _, _ = r.Session.Get("k") })
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Shutdown() }()
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Transport: &http.Transport{}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/write", "/read"} {
		answer, err := client.Get("http://" + listener.Addr().String() + path)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s returned %v, %v", path, answer, err)
		}
		_ = answer.Body.Close()
	}
	if !poll.Try(func() bool { return strings.Contains(log.String(), "a session's expiry could not be slid") }) {
		t.Errorf("logged %q", log)
	}
	if strings.Contains(log.String(), "secret") {
		t.Error("the store's text is logged")
	}
}

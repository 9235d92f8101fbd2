package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"
	"go.uber.org/goleak"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
)

// A request goes on when its visitor has gone, and what it sets is saved. All that the
// telemetry, the chain and the server have started ends with them.
func TestAVisitorWhoLeavesTakesNothingAlong(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c := &collector{}
	collecting := httptest.NewServer(c)
	defer collecting.Close()
	endTelemetry, err := observe(collecting.URL)
	if err != nil {
		t.Fatal(err)
	}
	store := gsession.NewStorageMemory()
	chain := layer.Chain(store, layer.Coalesced(), layer.Local(), layer.Traced())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := newServer(chain, listener)
	if err != nil {
		t.Fatal(err)
	}
	var id string // of the session that the request begins
	running, left := make(chan struct{}), make(chan struct{})
	server.Group("/slow", func(group *ghttp.RouterGroup) {
		group.Middleware(web.Sessions(chain))
		group.POST("/", func(r *ghttp.Request) {
			defer close(left)
			close(running)
			<-r.Context().Done()
			if err := r.Session.Set(userKey, name); err != nil {
				t.Error(err)
			}
			id = r.Session.MustId()
		})
	})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	leaving, leave := context.WithCancel(t.Context())
	transport := &http.Transport{}
	answered := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(leaving, http.MethodPost, "http://"+listener.Addr().String()+"/slow", strings.NewReader(""))
		if err == nil {
			_, err = transport.RoundTrip(r)
		}
		answered <- err
	}()
	select {
	case <-running:
	case <-time.After(deadline):
		t.Fatal("the request didn't arrive")
	}
	leave()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("the visitor got %v", err)
	}
	<-left
	transport.CloseIdleConnections()
	if err := server.Shutdown(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := chain.Close(ctx); err != nil {
		t.Error(err)
	}
	if session, err := store.GetSession(ctx, id, sessionLife); err != nil || session == nil || session.Get(userKey) != name {
		t.Errorf("the store has %v, %v", session, err)
	}
	if err := endTelemetry(ctx); err != nil {
		t.Error(err)
	}
	if got := c.all(); !strings.Contains(got, "session Commit") {
		t.Errorf("the collector got %d bytes, and no commit", len(got))
	}
}

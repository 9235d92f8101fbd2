package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/gogf/gf/v2/frame/g"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
)

// cookie is what ghttp keeps the session id in.
const cookie = "gfsessionid"

// servers counts them: one that was shut down keeps its name and its routes.
var servers atomic.Int64

// web is a ghttp server on the subject that is open. Its fields are set at construction.
type web struct {
	server   *ghttp.Server
	load     *load.Load
	sessions int
	bare     bool // requests touch no session
}

// serve runs a ghttp server on a port of its own, as a program has it: the storage is
// all that is set. Around it stands what learns when ghttp has closed the session, which
// is after the response.
func (r *running) serve() (addr string, err error) {
	storage := r.node.Storage()
	if storage == nil {
		return "", errors.New("a subject without a gsession.Storage can't serve")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := g.Server(fmt.Sprint("bench", servers.Add(1)))
	s.SetDumpRouterMap(false)
	s.SetErrorLogEnabled(false)
	s.SetLogStdout(false)
	s.SetSessionMaxAge(peers.TTL)
	s.SetSessionStorage(storage)
	s.SetHandler(func(w http.ResponseWriter, request *http.Request) {
		v := &load.Serving{}
		s.ServeHTTP(w, request.WithContext(context.WithValue(request.Context(), serving{}, v)))
		v.Done()
	})
	if err = s.SetListener(listener); err != nil {
		return "", err
	}
	web := &web{server: s, load: r.load, sessions: r.ask.Job.Sessions, bare: r.subject.Floor}
	for _, op := range []load.Op{load.Read, load.Change} {
		s.BindHandler("/"+string(op), func(request *ghttp.Request) { web.handle(request, op) })
	}
	if err = s.Start(); err != nil {
		return "", err
	}
	r.web = web
	return listener.Addr().String(), nil
}

// serving is the context's key of a load.Serving.
type serving struct{}

// handle serves one request: which session, and which turn of it, is in the query.
func (w *web) handle(request *ghttp.Request, op load.Op) {
	first, second, _ := strings.Cut(request.URL.RawQuery, ".")
	n, err := strconv.Atoi(first)
	turn, err2 := strconv.Atoi(second)
	if err = errors.Join(err, err2); err == nil && (n < 0 || n >= w.sessions) {
		err = fmt.Errorf("there is no session %d", n)
	}
	var said string
	switch {
	case err != nil:
	case w.bare:
		said = w.load.Name(n)
	default:
		v := request.Context().Value(serving{}).(*load.Serving)
		said, err = w.load.Serve(peers.OfSession((*gsession.Session)(request.Session)), op, n, turn, v)
	}
	if err != nil {
		request.Response.WriteStatus(http.StatusInternalServerError, "        "+err.Error())
		return
	}
	request.Response.Write(said)
}

func (w *web) close() error { return w.server.Shutdown() }

package worker

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/gogf/gf/v2/frame/g"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
)

// cookie is what ghttp keeps the session id in.
const cookie = "gfsessionid"

// web is a ghttp server on the subject that is open.
type web struct {
	server *ghttp.Server
}

// serve runs a ghttp server on a port of its own, as a program has it: the storage is
// all that is set.
func (r *running) serve() (addr string, err error) {
	storage := r.node.Storage()
	if storage == nil {
		return "", errors.New("a subject without a gsession.Storage can't serve")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := g.Server("bench")
	s.SetDumpRouterMap(false)
	s.SetErrorLogEnabled(false)
	s.SetLogStdout(false)
	s.SetSessionMaxAge(peers.TTL)
	s.SetSessionStorage(storage)
	if err = s.SetListener(listener); err != nil {
		return "", err
	}
	l, sessions := r.load, r.ask.Job.Sessions
	for _, op := range []load.Op{load.Read, load.Change} {
		s.BindHandler("/"+string(op), func(request *ghttp.Request) { handle(request, l, op, sessions) })
	}
	if err = s.Start(); err != nil {
		return "", err
	}
	r.web = &web{server: s}
	return listener.Addr().String(), nil
}

// handle serves one request: which session, and which turn of it, is in the query.
func handle(request *ghttp.Request, l *load.Load, op load.Op, sessions int) {
	first, second, _ := strings.Cut(request.URL.RawQuery, ".")
	n, err := strconv.Atoi(first)
	turn, err2 := strconv.Atoi(second)
	if err = errors.Join(err, err2); err == nil && (n < 0 || n >= sessions) {
		err = fmt.Errorf("there is no session %d", n)
	}
	var said string
	if err == nil {
		said, err = l.Serve(peers.OfSession((*gsession.Session)(request.Session)), op, n, turn)
	}
	if err != nil {
		request.Response.WriteStatus(http.StatusInternalServerError, "        "+err.Error())
		return
	}
	request.Response.Write(said)
}

func (w *web) close() error { return w.server.Shutdown() }

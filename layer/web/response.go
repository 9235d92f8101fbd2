package web

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// writer stands between ghttp's response and the connection, and has the session committed
// before the first byte passes. It is the request's, as any http.ResponseWriter.
type writer struct {
	http.ResponseWriter
	request *request
	begun   bool // the first byte has passed, or is about to
	closed  bool // the headers have left, or can't be sent any more
	refused int  // the status of OnError's response, where the commit failed: the handler's bytes are dropped; else 0
}

var errUpgrade = errors.New("strata: web: a connection that is taken over carries no cookie, and the client lacks the session's id; begin the session, or change its id, in a request before")

var errRefused = errors.New("strata: web: the session could not be committed; the response has been replaced")

// begin reports whether the handler's bytes may pass.
func (w *writer) begin() bool {
	if !w.begun {
		w.begun = true
		if err := w.request.beforeFirstByte(); err != nil {
			w.refuse(err)
		}
		w.closed = true
	}
	if q := w.request; q.logged != nil && q.r.GetError() == q.logged {
		q.r.SetError(nil) // has ghttp log no stack, now that outer middlewares have seen it, and have set no other one
	}
	return w.refused == 0
}

// refuse sends what OnError makes of the error. OnError may leave by Exit, and may flush.
func (w *writer) refuse(err error) {
	response := w.request.r.Response
	defer func() {
		w.refused = response.Status
		if response.IsHeaderWrote() {
			return // by OnError itself
		}
		w.ResponseWriter.WriteHeader(response.Status)
		_, _ = w.ResponseWriter.Write(response.Buffer())
		_ = http.NewResponseController(w.ResponseWriter).Flush() // a stream's handler goes on
		response.ClearBuffer()
	}()
	w.request.of.fail(w.request.r, err)
}

func (w *writer) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		if !w.begin() {
			return
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	if !w.begin() {
		return 0, errRefused
	}
	return w.ResponseWriter.Write(p)
}

func (w *writer) Flush() {
	if w.begin() {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
}

// Hijack commits before it hands out the connection. Where there is none to be had, as over
// HTTP/2, it changes nothing, so that the handler can still respond otherwise; nor where the session has an id that
// the client lacks, as the caller writes headers of its own, without the cookie.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !hijackable(w.ResponseWriter) {
		return nil, nil, fmt.Errorf("strata: web: this connection can't be taken over, as those of HTTP/2: %w", http.ErrNotSupported)
	}
	if q := w.request; !w.begun && q.byCookie() && q.storage.loaded && q.storage.id != q.presented.id && q.exists() {
		return nil, nil, errUpgrade
	}
	w.closed = true
	if !w.begin() {
		return nil, nil, errRefused
	}
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// hijackable reports whether a response's connection may be taken over.
func hijackable(w http.ResponseWriter) bool {
	for {
		switch is := w.(type) {
		case http.Hijacker:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = is.Unwrap()
		default:
			return false
		}
	}
}

// Unwrap lets http.ResponseController set deadlines.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
)

// trials run what a chain claims, as visitors of their own over HTTP, once on the layers and once
// on the bare store. Where there are several nodes, the overlapping request is at the last.
//
// mu guards gates; running is held by the one trial; the rest is set before the shop opens.
type trials struct {
	nodes  []string // the addresses of all nodes
	name   string   // of the store: files or redis
	redis  *ownRedis
	outage time.Duration   // how long Redis is away
	stop   context.Context // ends it early

	running sync.Mutex
	mu      sync.Mutex
	gates   map[string]*gate
}

// gate holds a slow request back: it has read its session when running is closed, and ends with
// released.
type gate struct {
	running  chan struct{}
	released context.Context
	release  context.CancelFunc
}

func (t *trials) open() (id string, g *gate) {
	id, g = rand.Text(), &gate{running: make(chan struct{})}
	g.released, g.release = context.WithTimeout(context.Background(), timeout)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gates == nil {
		t.gates = map[string]*gate{}
	}
	t.gates[id] = g
	return id, g
}

// enter is for the one request that comes to the gate.
func (t *trials) enter(id string) *gate {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.gates[id]
	delete(t.gates, id)
	return g
}

// slow puts one of an item into the cart, in a request that takes until its gate opens.
func (s *shop) slow(r *ghttp.Request) error {
	item, g := r.GetQuery("item").String(), s.trials.enter(r.GetRouter("gate").String())
	if g == nil || !goods[item] {
		s.refuse(r, http.StatusNotFound, "unknown")
		return nil
	}
	count, err := r.Session.Get(cartKeys+item, 0)
	if err != nil {
		return err
	}
	close(g.running)
	select {
	case <-g.released.Done():
	case <-r.Context().Done():
	}
	return r.Session.Set(cartKeys+item, count.Int()+1)
}

// outcome is what became of a trial on one side.
type outcome struct {
	Good bool     `json:"good"`
	Says string   `json:"says"`
	Acts []string `json:"acts"` // the responses, act by act
}

// compared is a trial on both.
type compared struct {
	Layers outcome `json:"layers"`
	Plain  outcome `json:"plain"`
}

// try runs the trial that the path names.
func (s *shop) try(r *ghttp.Request) error {
	t, in := s.trials, language(r)
	if !t.running.TryLock() {
		s.refuse(r, http.StatusConflict, "busy")
		return nil
	}
	defer t.running.Unlock()
	ctx := r.GetNeverDoneCtx() // a page that is left doesn't leave Redis away
	var both compared
	var err error
	switch name := r.GetRouter("trial").String(); {
	case name == "logout":
		both, err = t.both(func(side string) (outcome, error) { return t.logout(ctx, side, in) })
	case name == "changes":
		both, err = t.both(func(side string) (outcome, error) { return t.changes(ctx, side, in) })
	case name == "outage" && t.redis != nil:
		both, err = t.away(ctx, in)
	default:
		s.refuse(r, http.StatusNotFound, "unknown")
		return nil
	}
	if err != nil {
		return err
	}
	r.Response.WriteJson(both)
	return nil
}

// both runs a trial on both sides at once.
func (t *trials) both(run func(side string) (outcome, error)) (both compared, err error) {
	var group sync.WaitGroup
	var failed error
	group.Go(func() { both.Plain, failed = run(plainly) })
	both.Layers, err = run("")
	group.Wait()
	return both, errors.Join(err, failed)
}

// logout is that of a visitor for whom a slow request runs.
func (t *trials) logout(ctx context.Context, side string, in texts) (o outcome, err error) {
	v, err := newGuest(t.nodes[0]+side, t.nodes[len(t.nodes)-1]+side)
	if err != nil {
		return o, err
	}
	defer v.leave()
	if err = v.login(ctx); err != nil {
		return o, err
	}
	before := v.cookies()
	done, g, err := v.begin(ctx, t, 0, "tea")
	if err != nil {
		return o, err
	}
	defer g.release()
	status, err := v.post(ctx, 1, "/logout", nil)
	if err != nil {
		return o, err
	}
	o.Acts = append(o.Acts, in.says("act_logout", in.status(status)))
	// GoFrame ends a session after the response. The next request of a connection waits for that.
	if _, err = v.look(ctx, 1); err != nil {
		return o, err
	}
	g.release()
	slow := <-done
	if slow.err != nil {
		return o, slow.err
	}
	o.Acts = append(o.Acts, in.says("act_slow", in.status(slow.status)))
	v.keep(before) // who still has the old cookie
	seen, err := v.look(ctx, 0)
	if err != nil {
		return o, err
	}
	o.Good = seen.User == nil
	o.Says = in.verdict(o.Good, "still_out", "in_again")
	return o, nil
}

// changes are two, of different things, in requests that overlap.
func (t *trials) changes(ctx context.Context, side string, in texts) (o outcome, err error) {
	v, err := newGuest(t.nodes[0]+side, t.nodes[len(t.nodes)-1]+side)
	if err != nil {
		return o, err
	}
	defer v.leave()
	if err = v.login(ctx); err != nil {
		return o, err
	}
	items := [2]string{"bread", "tea"}
	var gates [2]*gate
	var done [2]<-chan answer
	for n := range items {
		if done[n], gates[n], err = v.begin(ctx, t, n, items[n]); err != nil {
			return o, err
		}
		defer gates[n].release()
	}
	for n := range items {
		gates[n].release()
		slow := <-done[n]
		if slow.err == nil {
			_, slow.err = v.look(ctx, n)
		}
		if slow.err != nil {
			return o, slow.err
		}
		o.Acts = append(o.Acts, in.says("act_"+items[n], in.status(slow.status)))
	}
	seen, err := v.look(ctx, 1)
	if err != nil {
		return o, err
	}
	o.Good = seen.Cart[items[0]] == 1 && seen.Cart[items[1]] == 1
	o.Says = in.verdict(o.Good, "both_kept", "one_lost")
	return o, nil
}

// away kills Redis, has visitors look around meanwhile, and starts it again.
func (t *trials) away(ctx context.Context, in texts) (both compared, err error) {
	var guests [2]*guest
	for n, side := range []string{"", plainly} {
		if guests[n], err = newGuest(t.nodes[0]+side, t.nodes[0]+side); err != nil {
			return both, err
		}
		defer guests[n].leave()
		if err = guests[n].login(ctx); err != nil {
			return both, err
		}
		// A visitor who has been there for a moment.
		for range 20 {
			if _, err = guests[n].look(ctx, 0); err != nil {
				return both, err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if err = t.redis.kill(ctx); err != nil {
		return both, err
	}
	until := time.Now().Add(t.outage)
	var looks, served [2]int
	var group sync.WaitGroup
	for n, v := range guests {
		group.Go(func() {
			for looks[n] == 0 || time.Now().Before(until) && t.stop.Err() == nil {
				looks[n]++
				if seen, err := v.look(ctx, 0); err == nil && seen.User != nil {
					served[n]++
				}
				time.Sleep(min(100*time.Millisecond, t.outage/10))
			}
		})
	}
	group.Wait()
	if err = t.redis.run(ctx); err != nil {
		return both, err
	}
	for n, o := range []*outcome{&both.Layers, &both.Plain} {
		o.Acts = append(o.Acts, in.says("act_away", served[n], looks[n]))
		status := 0
		for end := time.Now().Add(timeout); status != http.StatusOK && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			seen, err := guests[n].look(ctx, 0)
			if err == nil && seen.User != nil {
				status = http.StatusOK
			}
		}
		o.Acts = append(o.Acts, in.verdict(status == http.StatusOK, "act_back", "act_out"))
		o.Good = status == http.StatusOK && served[n]*10 >= looks[n]*9
		o.Says = in.verdict(o.Good, "stayed_open", "was_shut")
	}
	return both, nil
}

// guest is a visitor with two connections. A client has one connection at most, so that its next
// request begins when all of the last one has ended.
type guest struct {
	bases   [2]string
	clients [2]*http.Client
}

type answer struct {
	status int
	err    error
}

func newGuest(first, second string) (*guest, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	v := &guest{bases: [2]string{first, second}}
	for n := range v.clients {
		v.clients[n] = &http.Client{Jar: jar, Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: 2 * timeout}
	}
	return v, nil
}

func (v *guest) leave() {
	for _, c := range v.clients {
		c.CloseIdleConnections()
	}
}

func (v *guest) cookies() []*http.Cookie {
	at, err := url.Parse(v.bases[0])
	if err != nil {
		return nil
	}
	return v.clients[0].Jar.Cookies(at)
}

// keep sets cookies for all paths, as the shop does.
func (v *guest) keep(cookies []*http.Cookie) {
	at, err := url.Parse(v.bases[0])
	if err != nil {
		return
	}
	for _, c := range cookies {
		c.Path = "/"
	}
	v.clients[0].Jar.SetCookies(at, cookies)
}

func (v *guest) post(ctx context.Context, client int, path string, body []byte) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.bases[client]+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set(ownHeader, "1")
	answer, err := v.clients[client].Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

func (v *guest) login(ctx context.Context) error {
	status, err := v.post(ctx, 0, "/login", []byte(`{"name":"Ann"}`))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the log-in returned %d", status)
	}
	if err == nil {
		_, err = v.look(ctx, 0)
	}
	return err
}

// begin sends a slow request, and returns when it has read its session.
func (v *guest) begin(ctx context.Context, t *trials, client int, item string) (<-chan answer, *gate, error) {
	id, g := t.open()
	done := make(chan answer, 1)
	go func() {
		status, err := v.post(ctx, client, "/slow/"+id+"?item="+item, nil)
		done <- answer{status, err}
	}()
	select {
	case <-g.running:
		return done, g, nil
	case a := <-done:
		t.enter(id)
		g.release()
		return nil, nil, errors.Join(a.err, fmt.Errorf("the slow request returned %d", a.status))
	}
}

// seen is what a visitor sees of the session.
type seen struct {
	User   *string        `json:"user"`
	Cart   map[string]int `json:"cart"`
	Counts Counts         `json:"counts"`
}

func (v *guest) look(ctx context.Context, client int) (s seen, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.bases[client]+"/state", nil)
	if err != nil {
		return s, err
	}
	answer, err := v.clients[client].Do(r)
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, answer.Body)
		return s, errors.New(strings.ToLower(http.StatusText(answer.StatusCode)))
	}
	err = json.NewDecoder(answer.Body).Decode(&s)
	_, _ = io.Copy(io.Discard, answer.Body)
	return s, err
}

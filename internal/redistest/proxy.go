package redistest

import (
	"bytes"
	crand "crypto/rand"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// hub takes connections at an address of its own until the test ends.
//
// listener is set at the start; mu guards the rest. all are its goroutines.
type hub struct {
	listener net.Listener
	all      sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool // those that are open
	closed bool
}

// start has serve be called with each connection, on a goroutine of its own.
func (h *hub) start(tb testing.TB, serve func(net.Conn)) {
	tb.Helper()
	var err error
	if h.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		tb.Fatal(err)
	}
	h.conns = map[net.Conn]bool{}
	h.all.Go(func() {
		for {
			conn, err := h.listener.Accept()
			if err != nil {
				return
			}
			if h.keep(conn) {
				h.all.Go(func() {
					defer h.drop(conn)
					serve(conn)
				})
			}
		}
	})
	tb.Cleanup(func() {
		h.mu.Lock()
		h.closed = true
		h.mu.Unlock()
		_ = h.listener.Close()
		h.Cut()
		h.all.Wait()
	})
}

// Addr is host:port.
func (h *hub) Addr() string { return h.listener.Addr().String() }

// keep notes a connection, which is closed at the end of the test at the latest.
func (h *hub) keep(conn net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		_ = conn.Close()
		return false
	}
	h.conns[conn] = true
	return true
}

// drop closes a connection.
func (h *hub) drop(conn net.Conn) {
	_ = conn.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, conn)
}

// Cut closes all connections.
func (h *hub) Cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for conn := range h.conns {
		_ = conn.Close()
	}
}

// Proxy stands between clients and a server, and can do what networks do. Its methods
// may be called from any goroutine.
//
// instead is set at the start; mu guards the rest.
type Proxy struct {
	hub
	instead func(command []string) string

	target  string
	pairs   map[*pair]bool
	stalled [2]chan struct{} // what clients send, and what the server does; closed where nothing is
	longest time.Duration    // of the delay of a piece
	tap     func(conn int, toServer bool, piece []byte)
	count   int // connections
}

// pair is a client's connection and the server's that it is passed on to. client, number and ended
// are set at construction; sending is held before the proxy's mu, which guards the rest.
type pair struct {
	client  net.Conn
	number  int
	ended   chan struct{} // closed with the pair
	sending sync.Mutex    // to the server
	server  net.Conn
	mark    []byte // the reply after which nothing is under way, while that is waited for
	kept    []byte // what came before it
	drained chan struct{}
	over    net.Conn // the server's, once the mark has come: what it sends from then on is lost
}

// StartProxy forwards connections to an address until the test ends.
func StartProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	return startProxy(tb, target, nil)
}

func startProxy(tb testing.TB, target string, instead func([]string) string) *Proxy {
	tb.Helper()
	p := &Proxy{target: target, instead: instead, pairs: map[*pair]bool{}}
	for way := range p.stalled {
		p.stalled[way] = make(chan struct{})
		close(p.stalled[way])
	}
	p.start(tb, p.serve)
	tb.Cleanup(p.Resume) // before the hub's, which waits for what is kept back
	return p
}

// Stall keeps all bytes back, in both directions, with the connections open, until
// Resume. New connections are taken, and hang as well.
func (p *Proxy) Stall() { p.stall(toServer, toClient) }

// StallAnswers keeps back what the server sends, until Resume; it still gets, and does,
// what it is sent.
func (p *Proxy) StallAnswers() { p.stall(toClient) }

// The ways of a connection.
const (
	toServer = iota
	toClient
)

func (p *Proxy) stall(ways ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, way := range ways {
		select {
		case <-p.stalled[way]:
			p.stalled[way] = make(chan struct{})
		default:
		}
	}
}

// Resume undoes Stall and StallAnswers: what was kept back arrives.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stalled := range p.stalled {
		select {
		case <-stalled:
		default:
			close(stalled)
		}
	}
}

// Jitter delays each piece that passes by up to the longest time, most of them by much less,
// in both directions, until it is called with 0. The order of a connection stays.
func (p *Proxy) Jitter(longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.longest = longest
}

// Tap shows each piece that passes by to see, from many goroutines, until it is called with
// nil. The piece is see's only until it returns.
func (p *Proxy) Tap(see func(conn int, toServer bool, piece []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tap = see
}

// Lead has new connections go to another address, as one that several servers share does.
func (p *Proxy) Lead(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Conns is how many connections are open on the clients' side.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

// Accepted is how many connections there have been.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// Redial has each client's connection go on with a new one to the server, which knows
// nothing of what was set up on the former, and gives the client no sign. It does so between
// two commands, which have to be of less than 16 KiB, once the server has replied to all: what
// it sends by itself from then on is lost. A connection that it doesn't reply on is closed.
func (p *Proxy) Redial() {
	p.mu.Lock()
	pairs := slices.Collect(maps.Keys(p.pairs))
	p.mu.Unlock()
	for _, pair := range pairs {
		p.redial(pair)
	}
}

func (p *Proxy) redial(pair *pair) {
	pair.sending.Lock()
	defer pair.sending.Unlock()
	word := strings.ToLower(crand.Text())
	p.mu.Lock()
	old, drained := pair.server, make(chan struct{})
	pair.mark, pair.drained = []byte(Bulk(word)), drained
	p.mu.Unlock()
	_, err := io.WriteString(old, Array(Bulk("PING"), Bulk(word)))
	late := time.NewTimer(timeout)
	defer late.Stop()
	if err == nil {
		select {
		case <-drained:
			if server, ok := p.dial(); ok && p.replace(pair, server) {
				p.drop(old) // its reader goes on with the new one
				return
			}
		case <-pair.ended:
		case <-late.C:
		}
	}
	_ = pair.client.Close()
}

// replace reports whether the pair goes on with a new connection to the server.
func (p *Proxy) replace(pair *pair, server net.Conn) bool {
	p.mu.Lock()
	open := p.pairs[pair]
	if open {
		pair.server = server
	}
	p.mu.Unlock()
	if !open {
		p.drop(server)
	}
	return open
}

// drain returns what is to be passed on of what a server has sent: all before the mark. Invalidations
// may come right behind it. proxy.mu is held.
func (pair *pair) drain(server net.Conn, piece []byte) []byte {
	if server == pair.over {
		return nil
	}
	if pair.mark == nil {
		return piece
	}
	pair.kept = append(pair.kept, piece...)
	all, _, ok := bytes.Cut(pair.kept, pair.mark)
	if !ok {
		return nil
	}
	close(pair.drained)
	pair.mark, pair.kept, pair.over = nil, nil, server
	return all
}

// dial is a new connection to where the address leads.
func (p *Proxy) dial() (net.Conn, bool) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target)
	return server, err == nil && p.keep(server)
}

// serve passes on what a client sends, and what it is sent, until one side ends, and then ends both.
func (p *Proxy) serve(client net.Conn) {
	server, ok := p.dial()
	if !ok {
		return
	}
	pair := &pair{client: client, server: server, ended: make(chan struct{})}
	p.mu.Lock()
	p.count++
	pair.number = p.count
	p.pairs[pair] = true
	p.mu.Unlock()
	end := func() {
		p.mu.Lock()
		if p.pairs[pair] {
			delete(p.pairs, pair)
			close(pair.ended)
		}
		server := pair.server
		p.mu.Unlock()
		_ = client.Close()
		p.drop(server)
	}
	defer end()
	p.all.Go(func() {
		defer end()
		p.replies(pair)
	})
	if p.instead != nil {
		relay(client, sender{p, pair}, p.instead)
	} else {
		p.copy(client, sender{p, pair}, pair, toServer)
	}
}

// replies passes on what the pair's server sends, whichever that is.
func (p *Proxy) replies(pair *pair) {
	for server := net.Conn(nil); ; {
		p.mu.Lock()
		next, open := pair.server, p.pairs[pair]
		p.mu.Unlock()
		if !open || next == server {
			return
		}
		server = next
		p.copy(server, pair.client, pair, toClient)
	}
}

// sender writes to the pair's server of the moment.
type sender struct {
	proxy *Proxy
	pair  *pair
}

func (s sender) Write(content []byte) (int, error) {
	s.pair.sending.Lock()
	defer s.pair.sending.Unlock()
	s.proxy.mu.Lock()
	server := s.pair.server
	s.proxy.mu.Unlock()
	return server.Write(content)
}

// copy forwards until one side ends.
func (p *Proxy) copy(from net.Conn, to io.Writer, pair *pair, way int) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		stalled, longest, tap := p.stalled[way], p.longest, p.tap
		piece := buffer[:n]
		if way == toClient {
			piece = pair.drain(from, piece)
		}
		p.mu.Unlock()
		if tap != nil {
			tap(pair.number, way == toServer, piece)
		}
		<-stalled
		if longest > 0 {
			part := rand.Float64()
			time.Sleep(time.Duration(float64(longest) * part * part * part * part))
		}
		if _, err = to.Write(piece); err != nil {
			return
		}
	}
}

package redistest

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy stands between clients and a server, and can do what networks do. Its methods
// may be called from any goroutine.
//
// listener is set at the start; mu guards the rest.
type Proxy struct {
	listener net.Listener
	all      sync.WaitGroup

	mu      sync.Mutex
	target  string
	conns   map[net.Conn]bool
	stalled [2]chan struct{} // what clients send, and what the server does; closed where nothing is
	longest time.Duration    // of the delay of a piece
	tap     func(conn int, toServer bool, piece []byte)
	count   int // connections
	closed  bool
}

// StartProxy forwards connections to an address until the test ends.
func StartProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{listener: listener, target: target, conns: map[net.Conn]bool{}}
	for way := range p.stalled {
		p.stalled[way] = make(chan struct{})
		close(p.stalled[way])
	}
	p.all.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

// Addr is host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

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

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// Conns is how many connections are open on the clients' side.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) / 2
}

// Accepted is how many connections there have been.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.Resume()
	p.all.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			_, _ = client.Close(), server.Close()
			return
		}
		p.conns[client], p.conns[server] = true, true
		p.count++
		number := p.count
		p.mu.Unlock()
		p.all.Go(func() { p.copy(client, server, toServer, number) })
		p.all.Go(func() { p.copy(server, client, toClient, number) })
	}
}

// copy forwards until one side ends, and then ends both.
func (p *Proxy) copy(from, to net.Conn, way, number int) {
	defer func() {
		_, _ = from.Close(), to.Close()
		p.mu.Lock()
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		stalled, longest, tap := p.stalled[way], p.longest, p.tap
		p.mu.Unlock()
		if tap != nil {
			tap(number, way == toServer, buffer[:n])
		}
		<-stalled
		if longest > 0 {
			part := rand.Float64()
			time.Sleep(time.Duration(float64(longest) * part * part * part * part))
		}
		if _, err = to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

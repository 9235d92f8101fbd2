// Package link is a connection with a round-trip time, as between two machines.
package link

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Link forwards connections to a server and holds every byte back for half of the
// round-trip time in each direction. What follows isn't held up by what went before:
// pipelines stay pipelines.
//
// listener and target are set at the start, delay is atomic; mu guards the rest.
type Link struct {
	listener net.Listener
	target   string
	delay    atomic.Int64 // nanoseconds, of one direction
	all      sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// Start forwards to an address until Close.
func Start(target string, roundTrip time.Duration) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Link{listener: listener, target: target, conns: map[net.Conn]bool{}}
	l.Set(roundTrip)
	l.all.Go(l.accept)
	return l, nil
}

// Addr is host:port.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Set changes the round-trip time of what comes next.
func (l *Link) Set(roundTrip time.Duration) { l.delay.Store(int64(roundTrip / 2)) }

// Close closes all connections, and returns when nothing runs on.
func (l *Link) Close() {
	_ = l.listener.Close()
	l.mu.Lock()
	l.closed = true
	for conn := range l.conns {
		_ = conn.Close()
	}
	l.mu.Unlock()
	l.all.Wait()
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		l.mu.Lock()
		if l.closed {
			_, _ = client.Close(), server.Close()
		} else {
			l.conns[client], l.conns[server] = true, true
			l.forward(client, server)
			l.forward(server, client)
		}
		l.mu.Unlock()
	}
}

// piece is bytes, and when they are due.
type piece struct {
	due  time.Time
	data []byte
}

// onTheWay bounds the pieces of a direction that are under way.
const onTheWay = 4096

// forward starts the two goroutines of a direction: one takes, one delivers.
func (l *Link) forward(from, to net.Conn) {
	way := make(chan piece, onTheWay)
	l.all.Go(func() {
		defer close(way)
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			way <- piece{time.Now().Add(time.Duration(l.delay.Load())), append([]byte(nil), buffer[:n]...)}
		}
	})
	l.all.Go(func() {
		defer func() {
			_, _ = from.Close(), to.Close()
			l.mu.Lock()
			delete(l.conns, from)
			delete(l.conns, to)
			l.mu.Unlock()
			for range way { // until the taker has noticed
			}
		}()
		for p := range way {
			sleepUntil(p.due)
			if _, err := to.Write(p.data); err != nil {
				return
			}
		}
	})
}

// sleepUntil is exact to some 60 µs; Go's own timers are to 1 ms in a process that does
// nothing else.
func sleepUntil(due time.Time) {
	for left := time.Until(due); left > 0; left = time.Until(due) {
		sleep := unix.NsecToTimespec(int64(left))
		_ = unix.Nanosleep(&sleep, nil)
	}
}

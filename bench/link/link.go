// Package link is a connection with a round-trip time, as between two machines. A Link
// belongs into a process of its own: beside a busy program its thread would wait for its
// turn, and so would every byte.
package link

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Link forwards connections to a server and holds every byte back for half of the
// round-trip time in each direction. Later bytes aren't held up by earlier ones:
// pipelines stay pipelines.
//
// It is one thread that polls, reads, and writes what is due: no goroutine has to be
// woken for a byte. delay is atomic; ends and way belong to the thread; the rest is set
// at the start.
type Link struct {
	addr     netip.AddrPort
	target   unix.SockaddrInet4
	listener int
	stop     [2]int       // a pipe: Close closes its second end, which wakes the thread
	delay    atomic.Int64 // nanoseconds, of one direction
	done     chan struct{}

	ends []*end
	way  []piece // in the order in which they are due
}

// end is one side of a connection. Its fields belong to the thread.
type end struct {
	fd   int
	peer *end
	gone bool
}

// piece is bytes, where they go, and when they are due. None is the connection's end.
type piece struct {
	due  time.Time
	to   *end
	data []byte
}

// Start forwards to an address of IPv4 until Close.
func Start(target string, roundTrip time.Duration) (*Link, error) {
	to, err := netip.ParseAddrPort(target)
	if err != nil || !to.Addr().Is4() {
		return nil, fmt.Errorf("link: %q is no address of IPv4: %w", target, err)
	}
	l := &Link{target: unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}, done: make(chan struct{})}
	l.Set(roundTrip)
	if l.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	err = errors.Join(unix.Bind(l.listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(l.listener, 128),
		unix.Pipe2(l.stop[:], unix.O_CLOEXEC))
	if err != nil {
		_ = unix.Close(l.listener)
		return nil, err
	}
	bound, err := unix.Getsockname(l.listener)
	if err != nil {
		return nil, err
	}
	at := bound.(*unix.SockaddrInet4)
	l.addr = netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
	go l.run()
	return l, nil
}

// Addr is host:port.
func (l *Link) Addr() string { return l.addr.String() }

// Set changes the round-trip time of what comes next.
func (l *Link) Set(roundTrip time.Duration) { l.delay.Store(int64(roundTrip / 2)) }

// Close closes all connections, and returns when nothing runs on.
func (l *Link) Close() {
	_ = unix.Close(l.stop[1])
	<-l.done
}

// run is the thread.
func (l *Link) run() {
	defer close(l.done)
	runtime.LockOSThread()                             // for good: the thread ends with its goroutine
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -10)    // a network doesn't wait for programs; where that is allowed
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // else the kernel rounds up by 50 µs
	defer l.closeAll()
	buffer := make([]byte, 64<<10)
	var polled []unix.PollFd
	for {
		polled = append(polled[:0], unix.PollFd{Fd: int32(l.stop[0]), Events: unix.POLLIN}, unix.PollFd{Fd: int32(l.listener), Events: unix.POLLIN})
		for _, e := range l.ends {
			polled = append(polled, unix.PollFd{Fd: int32(e.fd), Events: unix.POLLIN})
		}
		_, err := unix.Ppoll(polled, l.timeout(), nil)
		if err != nil && err != unix.EINTR || polled[0].Revents != 0 {
			return
		}
		now := time.Now()
		for n, e := range l.ends {
			if polled[n+2].Revents != 0 {
				l.take(e, buffer, now)
			}
		}
		if polled[1].Revents != 0 {
			l.accept()
		}
		l.deliver(now)
	}
}

// timeout is how long nothing is due; nil if nothing is under way.
func (l *Link) timeout() *unix.Timespec {
	if len(l.way) == 0 {
		return nil
	}
	left := unix.NsecToTimespec(int64(max(0, time.Until(l.way[0].due))))
	return &left
}

func (l *Link) accept() {
	near, _, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return
	}
	far, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		if err = errors.Join(unix.Connect(far, &l.target), unix.SetNonblock(far, true)); err != nil {
			_ = unix.Close(far)
		}
	}
	if err != nil {
		_ = unix.Close(near)
		return
	}
	one, two := &end{fd: near}, &end{fd: far}
	one.peer, two.peer = two, one
	for _, e := range []*end{one, two} {
		_ = unix.SetsockoptInt(e.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		l.ends = append(l.ends, e)
	}
}

// take reads what has come, and lets it be due later. An end that has closed is polled no
// more, and its peer closes when all before has been delivered.
func (l *Link) take(e *end, buffer []byte, now time.Time) {
	n, err := unix.Read(e.fd, buffer)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	p := piece{due: now.Add(time.Duration(l.delay.Load())), to: e.peer}
	if err == nil && n > 0 {
		p.data = append([]byte(nil), buffer[:n]...)
	} else {
		l.drop(e)
	}
	l.way = append(l.way, p)
}

// deliver writes what is due.
func (l *Link) deliver(now time.Time) {
	for len(l.way) > 0 && !l.way[0].due.After(now) {
		p := l.way[0]
		l.way[0] = piece{}
		if l.way = l.way[1:]; p.data == nil || !p.to.gone && !write(p.to.fd, p.data) {
			l.drop(p.to)
		}
	}
}

// write waits where the receiver is slower than that; everybody else waits with it.
func write(fd int, data []byte) bool {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		switch err {
		case nil:
			data = data[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			if _, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 5000); err != nil && err != unix.EINTR {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// drop closes an end. The list is replaced, as run may be going through it.
func (l *Link) drop(e *end) {
	if e.gone {
		return
	}
	e.gone = true
	_ = unix.Close(e.fd)
	left := make([]*end, 0, len(l.ends))
	for _, other := range l.ends {
		if other != e {
			left = append(left, other)
		}
	}
	l.ends = left
}

func (l *Link) closeAll() {
	for _, e := range l.ends {
		_ = unix.Close(e.fd)
	}
	_, _ = unix.Close(l.listener), unix.Close(l.stop[0])
}

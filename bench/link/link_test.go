package link

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// repeater returns what it receives.
func repeater(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// dial connects to the other side of a link.
func dial(t *testing.T, l *Link) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestNothingArrivesBeforeItsTime(t *testing.T) {
	const roundTrip = 40 * time.Millisecond
	l, err := Start(repeater(t), roundTrip)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn := dial(t, l)
	for range 3 {
		began := time.Now()
		if _, err = conn.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err = io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < roundTrip {
			t.Errorf("a message took %v, less than the round trip", took)
		}
	}
}

// ends are two of a connection, each with the other side of its socket, which the test
// writes to and reads from.
func ends(t *testing.T) (l *Link, near, far int) {
	t.Helper()
	var pairs [2][2]int
	for n := range pairs {
		var err error
		if pairs[n], err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = unix.Close(pairs[n][0]), unix.Close(pairs[n][1]) })
	}
	one, two := &end{fd: pairs[0][0]}, &end{fd: pairs[1][0]}
	one.peer, two.peer = two, one
	return &Link{ends: []*end{one, two}}, pairs[0][1], pairs[1][1]
}

func TestNothingWaitsForWhatWentBefore(t *testing.T) {
	const pieces = 100
	l, near, far := ends(t)
	l.Set(2 * time.Second)
	now := time.Now()
	for n := range pieces {
		if _, err := unix.Write(near, []byte{byte(n)}); err != nil {
			t.Fatal(err)
		}
		l.take(l.ends[0], make([]byte, 16), now.Add(time.Duration(n)*time.Millisecond))
	}
	got := make([]byte, 2*pieces)
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{time.Second - 1, -1}, {time.Second, 1}, {time.Second + 49*time.Millisecond, 49}, {time.Hour, 50}} {
		l.deliver(now.Add(tt.after))
		if n, _ := unix.Read(far, got); n != tt.want {
			t.Errorf("after %v, %d pieces arrive, want %d", tt.after, n, tt.want)
		}
	}
}

func TestAConnectionEndsAfterItsBytes(t *testing.T) {
	l, near, far := ends(t)
	now, buffer := time.Now(), make([]byte, 16)
	if _, err := unix.Write(near, []byte{1}); err != nil {
		t.Fatal(err)
	}
	l.take(l.ends[0], buffer, now)
	if err := unix.Shutdown(near, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	l.take(l.ends[0], buffer, now)
	l.deliver(now)
	for _, want := range []int{1, 0} {
		if n, err := unix.Read(far, buffer); n != want || err != nil {
			t.Errorf("read %d bytes, %v, want %d", n, err, want)
		}
	}
	if len(l.ends) != 0 {
		t.Errorf("%d ends are left", len(l.ends))
	}
}

func TestBytesArriveInTheirOrder(t *testing.T) {
	l, err := Start(repeater(t), 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn := dial(t, l)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	sent := make([]byte, 4<<20)
	for n := range sent {
		sent[n] = byte(n * n >> 8)
	}
	go func() { _, _ = conn.Write(sent) }()
	got := make([]byte, len(sent))
	if _, err = io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Error("what has arrived isn't what was sent")
	}
}

func TestCloseEndsConnections(t *testing.T) {
	l, err := Start(repeater(t), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, l)
	if _, err = conn.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err = conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err = conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open after Close")
	}
}

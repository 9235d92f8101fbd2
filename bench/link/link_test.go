package link

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo answers what it gets.
func echo(t *testing.T) string {
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

func TestNothingArrivesBeforeItsTime(t *testing.T) {
	const roundTrip = 40 * time.Millisecond
	l, err := Start(echo(t), roundTrip)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for range 3 {
		began := time.Now()
		if _, err = conn.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err = io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < roundTrip {
			t.Errorf("an echo took %v, less than the round trip", took)
		}
	}
}

func TestNothingWaitsForWhatWentBefore(t *testing.T) {
	const pieces = 100
	l := &Link{conns: map[net.Conn]bool{}}
	l.Set(40 * time.Millisecond)
	near, from := net.Pipe()
	to, far := net.Pipe()
	l.forward(from, to)
	// A pipe holds nothing: each of these is taken before any has been delivered.
	_ = near.SetWriteDeadline(time.Now().Add(10 * time.Second))
	for n := range pieces {
		if _, err := near.Write([]byte{byte(n)}); err != nil {
			t.Fatalf("piece %d wasn't taken: %v", n, err)
		}
	}
	got := make([]byte, pieces)
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	for n, b := range got {
		if b != byte(n) {
			t.Fatalf("byte %d is %d", n, b)
		}
	}
	_ = near.Close()
	l.all.Wait()
}

func TestCloseEndsConnections(t *testing.T) {
	l, err := Start(echo(t), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
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

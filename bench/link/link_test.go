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

func TestEverythingArrivesNotBeforeItsTimeAndWithoutWaitingInLine(t *testing.T) {
	const roundTrip, pieces = 40 * time.Millisecond, 100
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
	began := time.Now()
	go func() {
		for n := range pieces {
			if _, err := conn.Write([]byte{byte(n)}); err != nil {
				return
			}
			time.Sleep(100 * time.Microsecond) // pieces of their own
		}
	}()
	got := make([]byte, pieces)
	if _, err = io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	if took < roundTrip {
		t.Errorf("an echo took %v, less than the round trip", took)
	}
	if took > pieces*roundTrip/2 {
		t.Errorf("%d echoes took %v: each waited for the one before", pieces, took)
	}
	for n, b := range got {
		if b != byte(n) {
			t.Fatalf("byte %d is %d", n, b)
		}
	}
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

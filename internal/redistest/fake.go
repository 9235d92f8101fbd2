package redistest

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// StartFake runs a server until the test ends and returns its address. It replies to each
// command, whose words are in small letters, what reply returns: as RESP, [Silence], or "" to
// close the connection. A SET that it replies OK to invalidates the key for the connections
// whose CLIENT TRACKING it replied OK to.
func StartFake(t testing.TB, reply func(command []string) string) string {
	t.Helper()
	var (
		mu       sync.Mutex
		tracking []net.Conn
	)
	var h hub
	h.start(t, func(conn net.Conn) {
		relay(conn, io.Discard, func(command []string) string {
			text := reply(command)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case text == "":
				return HangUp
			case text != OK:
			case command[0] == "client" && command[1] == "tracking":
				tracking = append(tracking, conn)
			case command[0] == "set":
				for _, conn := range tracking {
					_, _ = io.WriteString(conn, ">2\r\n"+Bulk("invalidate")+Array(Bulk(command[1])))
				}
			}
			return text
		})
	})
	return h.Addr()
}

const (
	OK = "+OK\r\n"

	// Silence is no reply, with the connection open.
	Silence = "\x00"

	// HangUp ends a reply after which the connection is closed.
	HangUp = "\x01"

	// Hello3 is a master's reply to HELLO 3.
	Hello3 = "%2\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
)

// Bulk is a text as servers send it.
func Bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

// Array is several replies as one.
func Array(replies ...string) string {
	return fmt.Sprintf("*%d\r\n%s", len(replies), strings.Join(replies, ""))
}

// Redis5 replies as a server that knows neither HELLO nor CLIENT TRACKING.
func Redis5(command []string) string {
	switch {
	case command[0] == "hello":
		return "-ERR unknown command `hello`, with args beginning with: `3`, \r\n"
	case command[0] == "client":
		return "-ERR Unknown subcommand or wrong number of arguments for 'tracking'. Try CLIENT HELP\r\n"
	case command[0] == "del":
		return ":1\r\n"
	case command[0] == "ping" && len(command) > 1:
		return Bulk(command[1])
	}
	return OK
}

// Redis6 replies as a master that knows HELLO 3 and CLIENT TRACKING.
func Redis6(command []string) string {
	switch command[0] {
	case "hello":
		return Hello3
	case "client":
		return OK
	}
	return Redis5(command)
}

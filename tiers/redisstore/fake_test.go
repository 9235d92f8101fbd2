package redisstore_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// fake answers commands as an old or odd server does, and is the client of one.
func fake(t testing.TB, answer func(command []string) string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: fakeServer(t, answer), MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// fakeServer answers commands, whose words are in small letters, until the test ends. Of
// what it answers OK to it tells those who track. It returns its address.
func fakeServer(t testing.TB, answer func(command []string) string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
		told  []net.Conn
	)
	// tell announces what was set to whoever has asked.
	tell := func(conn net.Conn, command []string, answer string) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case answer != "+OK\r\n":
		case command[0] == "client" && command[1] == "tracking":
			told = append(told, conn)
		case command[0] == "set":
			for _, conn := range told {
				_, _ = io.WriteString(conn, ">2\r\n"+bulk("invalidate")+list(bulk(command[1])))
			}
		}
	}
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			all.Go(func() { serve(conn, answer, tell) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return listener.Addr().String()
}

// silence is no answer, with the connection open.
const silence = "\x00"

// hangUp ends an answer after which the connection is closed.
const hangUp = "\x01"

// serve reads commands and writes answers; "" ends the connection.
func serve(conn net.Conn, answer func([]string) string, tell func(net.Conn, []string, string)) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	number := func() int {
		line, _ := in.ReadString('\n')
		n, err := strconv.Atoi(strings.Trim(line, "*$\r\n"))
		if err != nil {
			return 0
		}
		return n
	}
	for {
		command := make([]string, number())
		for n := range command {
			arg := make([]byte, number()+2)
			if _, err := io.ReadFull(in, arg); err != nil {
				return
			}
			command[n] = strings.ToLower(string(arg[:len(arg)-2]))
		}
		if len(command) == 0 {
			return
		}
		text := answer(command)
		tell(conn, command, text)
		if text == silence {
			continue
		}
		text, ends := strings.CutSuffix(text, hangUp)
		if _, err := io.WriteString(conn, text); err != nil || ends || text == "" {
			return
		}
	}
}

// bulk is a text as servers send it, and list several.
func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

func list(texts ...string) string {
	return fmt.Sprintf("*%d\r\n%s", len(texts), strings.Join(texts, ""))
}

const hello3 = "%2\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"

// redis5 knows neither HELLO nor CLIENT TRACKING.
func redis5(command []string) string {
	switch {
	case command[0] == "hello":
		return "-ERR unknown command `hello`, with args beginning with: `3`, \r\n"
	case command[0] == "client":
		return "-ERR Unknown subcommand or wrong number of arguments for 'tracking'. Try CLIENT HELP\r\n"
	case command[0] == "del":
		return ":1\r\n"
	case command[0] == "ping" && len(command) > 1:
		return fmt.Sprintf("$%d\r\n%s\r\n", len(command[1]), command[1])
	}
	return "+OK\r\n"
}

// redis5Pong answers pings rightly, and all else with OK.
func redis5Pong(command []string) string {
	if command[0] == "client" {
		return "+OK\r\n"
	}
	return redis5(command)
}

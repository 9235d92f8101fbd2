package redistest

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"strings"
	"testing"
)

// StartRelay passes commands on to a server until the test ends, except those to which
// instead returns a reply of its own, as a proxy with restrictions does. Commands are in small
// letters; the reply is one of [StartFake], and "" passes the command on. A command that is
// replied to must not be sent in a pipeline with others. It returns the relay's address.
func StartRelay(tb testing.TB, target string, instead func(command []string) string) string {
	tb.Helper()
	return startProxy(tb, target, instead).Addr()
}

// relay reads a client's commands and writes the replies to them, or passes them on, until one side ends.
func relay(client io.ReadWriter, server io.Writer, instead func([]string) string) {
	var raw bytes.Buffer
	in := bufio.NewReader(client)
	line := func() (int, error) {
		text, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		raw.WriteString(text)
		return strconv.Atoi(strings.Trim(text, "*$\r\n"))
	}
	for {
		raw.Reset()
		words, err := line()
		if err != nil || words < 1 {
			return
		}
		command := make([]string, words)
		for n := range command {
			length, err := line()
			if err != nil {
				return
			}
			word := make([]byte, length+2)
			if _, err := io.ReadFull(in, word); err != nil {
				return
			}
			raw.Write(word)
			command[n] = strings.ToLower(string(word[:length]))
		}
		reply := instead(command)
		if reply == Silence {
			continue
		}
		text, hangsUp := strings.CutSuffix(reply, HangUp)
		if reply == "" {
			_, err = server.Write(raw.Bytes())
		} else {
			_, err = io.WriteString(client, text)
		}
		if err != nil || hangsUp {
			return
		}
	}
}

package worker

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/stats"
)

// generate makes requests to a ghttp server for a time, each worker on a connection of
// its own, and checks every response. It speaks only the HTTP that this server does, so
// that it takes little of the machine.
func generate(ask Ask) (round Round, err error) {
	var (
		group   sync.WaitGroup
		workers = make([]caller, ask.Job.Workers)
		ids     = load.IDs(ask.Job.Series, ask.Job.Sessions)
		began   = time.Now()
	)
	for n := range workers {
		w := &workers[n]
		group.Go(func() { w.err = w.call(ask, ids, n, began.Add(ask.Duration)) })
	}
	group.Wait()
	round.Elapsed = time.Since(began)
	for n := range workers {
		if workers[n].err != nil {
			return round, workers[n].err
		}
		round.Requests += int(workers[n].times.N)
		round.Times.Merge(workers[n].times)
	}
	return round, nil
}

// caller is one connection. It is one goroutine's.
type caller struct {
	times stats.Histogram
	err   error
}

func (c *caller) call(ask Ask, ids []string, worker int, end time.Time) error {
	conn, err := net.Dial("tcp", ask.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err = conn.SetDeadline(end.Add(20 * time.Second)); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	var out, body []byte
	for turn := worker; time.Now().Before(end); turn += ask.Job.Workers {
		n := turn % len(ids)
		out = fmt.Appendf(out[:0], "GET /%s?%d.%d HTTP/1.1\r\nHost: bench\r\nCookie: %s=%s\r\n\r\n",
			ask.Job.Op, n, turn/len(ids), cookie, ids[n])
		began := time.Now()
		if _, err = conn.Write(out); err != nil {
			return err
		}
		if body, err = response(in, body); err != nil {
			return err
		}
		c.times.Add(time.Since(began))
		if err = load.CheckServed(ids[n], body); err != nil {
			return err
		}
	}
	return nil
}

// response reads the body of one response, of a known length or in chunks, as ghttp
// sends it.
func response(in *bufio.Reader, body []byte) ([]byte, error) {
	length, chunked := -1, false
	for {
		line, err := line(in)
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	if !chunked {
		return more(in, body[:0], length)
	}
	for body = body[:0]; ; {
		size, err := line(in)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(string(size), 16, 31)
		if err != nil {
			return nil, err
		}
		if body, err = more(in, body, int(n)); err != nil {
			return nil, err
		}
		if _, err = line(in); err != nil || n == 0 {
			return body, err
		}
	}
}

// line is one line without its end.
func line(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	return bytes.TrimSpace(line), err
}

// more appends n bytes.
func more(in *bufio.Reader, body []byte, n int) ([]byte, error) {
	if n < 0 || n > 1<<20 {
		return nil, fmt.Errorf("a response of %d bytes, which the server never gives", n)
	}
	old := len(body)
	body = append(body, make([]byte, n)...)
	_, err := io.ReadFull(in, body[old:])
	return body, err
}

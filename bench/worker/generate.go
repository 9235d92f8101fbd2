package worker

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/stats"
)

// The load of a server is that of browsers: a visit loads a page, which is 4 to 8 requests
// of one session, over the connections of that browser at once; then another visitor comes.
const (
	PageLeast, PageMost = 4, 8
	BrowserConns        = 4
)

// generate makes requests to a ghttp server for a time, and checks every response.
func generate(ask Ask) (round Round, err error) {
	var (
		group    sync.WaitGroup
		browsers = make([]browser, max(1, ask.Job.Workers/BrowserConns))
		began    = time.Now()
		ids      = load.IDs(ask.Job.Series, ask.Job.Sessions)
	)
	for n := range browsers {
		b := &browsers[n]
		group.Go(func() { b.err = b.browse(ask, ids, n, len(browsers), began.Add(ask.Duration)) })
	}
	group.Wait()
	round.Elapsed = time.Since(began)
	for n := range browsers {
		if browsers[n].err != nil {
			return round, browsers[n].err
		}
		for _, c := range browsers[n].conns {
			round.Times.Merge(c.times)
		}
	}
	round.Requests = int(round.Times.N)
	return round, nil
}

// browser is a few connections. It is one goroutine's, but that each connection is its
// own goroutine's while a page loads.
type browser struct {
	conns [BrowserConns]caller
	err   error
}

// browse visits every so manieth session by turns. Which requests a page has is drawn,
// the same for every subject.
func (b *browser) browse(ask Ask, ids []string, first, step int, end time.Time) error {
	for n := range b.conns {
		if err := b.conns[n].dial(ask.Addr, end); err != nil {
			return err
		}
		defer func() { _ = b.conns[n].conn.Close() }()
	}
	random := rand.New(rand.NewPCG(uint64(ask.Turn), uint64(first)))
	for visit := first; visit == first || time.Now().Before(end); visit += step {
		session, requests := (ask.Turn*7919+visit)%len(ids), PageLeast+random.IntN(PageMost-PageLeast+1)
		var page sync.WaitGroup
		for n := range b.conns {
			c := &b.conns[n]
			page.Go(func() {
				for turn := n; turn < requests && c.err == nil; turn += BrowserConns {
					c.err = c.call(ask.Job.Op, session, visit/step+turn, ids[session])
				}
			})
		}
		page.Wait()
		for _, c := range b.conns {
			if c.err != nil {
				return c.err
			}
		}
	}
	return nil
}

// caller is one connection. It speaks only the HTTP that this server does, so that it
// takes little of the machine. It is one goroutine's at a time.
type caller struct {
	conn      net.Conn
	in        *bufio.Reader
	out, body []byte
	times     stats.Histogram
	err       error
}

func (c *caller) dial(addr string, end time.Time) (err error) {
	if c.conn, err = net.Dial("tcp", addr); err != nil {
		return err
	}
	c.in = bufio.NewReader(c.conn)
	return c.conn.SetDeadline(end.Add(20 * time.Second))
}

func (c *caller) call(op load.Op, session, turn int, id string) (err error) {
	c.out = fmt.Appendf(c.out[:0], "GET /%s?%d.%d HTTP/1.1\r\nHost: bench\r\nCookie: %s=%s\r\n\r\n", op, session, turn, cookie, id)
	began := time.Now()
	if _, err = c.conn.Write(c.out); err != nil {
		return err
	}
	if c.body, err = response(c.in, c.body); err != nil {
		return err
	}
	c.times.Add(time.Since(began))
	return load.CheckServed(id, c.body)
}

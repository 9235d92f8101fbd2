package link

import (
	"bufio"
	"net"
	"sync"
	"time"

	"github.com/gf-strata/strata/bench/stats"
)

// Reached measures the round-trip time through an address of a link to a redis-server,
// with so many connections that each ask again as soon as the reply has come, for a time.
func Reached(addr string, conns int, d time.Duration) (all stats.Histogram, err error) {
	var (
		group sync.WaitGroup
		times = make([]stats.Histogram, conns)
		errs  = make([]error, conns)
	)
	for n := range conns {
		group.Go(func() { errs[n] = pings(addr, d, &times[n]) })
	}
	group.Wait()
	for n := range conns {
		if errs[n] != nil {
			return all, errs[n]
		}
		all.Merge(times[n])
	}
	return all, nil
}

func pings(addr string, d time.Duration, times *stats.Histogram) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err = conn.SetDeadline(time.Now().Add(d + 10*time.Second)); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	for end := time.Now().Add(d); ; {
		began := time.Now()
		if _, err = conn.Write([]byte("PING\r\n")); err == nil {
			_, err = in.ReadSlice('\n')
		}
		if err != nil {
			return err
		}
		times.Add(time.Since(began))
		if !time.Now().Before(end) {
			return nil
		}
	}
}

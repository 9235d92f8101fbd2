// Package redistest runs real Redis servers for tests.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/gogf/gf/contrib/nosql/redis/v2" // lets gredis.New make a client
	"github.com/gogf/gf/v2/database/gredis"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
)

// timeout bounds every wait for a server.
const timeout = 30 * time.Second

// Server is a redis-server on a free port of 127.0.0.1 that keeps nothing on disk.
// Its methods are for the goroutine of the test that started it.
//
// dir, port and flags are set at the start; process is nil while the server is
// stopped; clients are closed by Close.
type Server struct {
	dir     string
	port    int
	flags   []string
	process *process
	clients []*redis.Client
}

// Start runs a server until the test ends, with more redis-server flags if wanted.
// The test fails, and isn't skipped, where there is no redis-server.
func Start(tb testing.TB, flags ...string) *Server {
	tb.Helper()
	s, err := Run(flags...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Run runs a server until Close, for a TestMain that has examples to serve.
func Run(flags ...string) (*Server, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, errors.New("these tests need redis-server in PATH: run `make redis`, or apt-get install redis-server")
	}
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, flags: flags}
	// Another process may take the port between its choice and the server's start.
	for tries := 0; tries < 5; tries++ {
		if s.port, err = freePort(); err == nil {
			err = s.run()
		}
		if err == nil {
			return s, nil
		}
	}
	s.Close()
	return nil, fmt.Errorf("redis-server doesn't start: %w", err)
}

// Close stops the server, closes its clients and removes its folder.
func (s *Server) Close() {
	for _, client := range s.clients {
		_ = client.Close()
	}
	s.clients = nil
	s.Stop()
	_ = os.RemoveAll(s.dir)
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is what redis.ParseURL and redisstore.Open take.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }

// Client is a go-redis client of its own, closed with the server.
func (s *Server) Client() *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: s.Addr(), ContextTimeoutEnabled: true})
	s.clients = append(s.clients, client)
	return client
}

// GoFrame is a client as a GoFrame program has it, closed when the test ends.
func (s *Server) GoFrame(tb testing.TB) *gredis.Redis {
	tb.Helper()
	client, err := gredis.New(&gredis.Config{Address: s.Addr()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close(context.Background()) })
	return client
}

// Stop kills the server, as a crash would; it does nothing where it is stopped.
// Nothing listens on the port when it returns.
func (s *Server) Stop() {
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// Restart stops the server and runs it again on the same port, with what it has kept on disk:
// nothing, unless its flags say otherwise.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Stop()
	if err := s.run(); err != nil {
		tb.Fatalf("redis-server doesn't start again: %v", err)
	}
}

// Snapshot keeps a copy of the server's files as they are now. restore has the server start again with these, as
// an operator does with an old backup.
func (s *Server) Snapshot(tb testing.TB) (restore func()) {
	tb.Helper()
	copied := filepath.Join(tb.TempDir(), "files")
	s.Pause()
	err := os.CopyFS(copied, os.DirFS(s.dir))
	s.Resume()
	if err != nil {
		tb.Fatal(err)
	}
	return func() {
		tb.Helper()
		s.Stop()
		if err := errors.Join(os.RemoveAll(s.dir), os.CopyFS(s.dir, os.DirFS(copied))); err != nil {
			tb.Fatal(err)
		}
		s.Restart(tb)
	}
}

// Pause keeps the server from answering, with its connections open, until Resume.
func (s *Server) Pause() { s.process.pause() }

// Resume undoes Pause.
func (s *Server) Resume() { s.process.resume() }

// FailSaves has the server fail to save what it has, and so refuse writes with MISCONF, until
// MendSaves.
func (s *Server) FailSaves(tb testing.TB) {
	tb.Helper()
	client := s.Client()
	ctx := context.Background()
	// No file can be renamed to a folder.
	if err := os.MkdirAll(filepath.Join(s.dir, "dump.rdb", "taken"), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := client.ConfigSet(ctx, "save", "3600 1").Err(); err != nil {
		tb.Fatal(err)
	}
	poll.Until(tb, "the server fails to save into a folder's place", func() bool {
		_ = client.BgSave(ctx).Err() // fails while another is under way
		info, err := client.InfoMap(ctx, "persistence").Result()
		return err == nil && info["Persistence"]["rdb_last_bgsave_status"] == "err"
	})
}

// MendSaves undoes FailSaves.
func (s *Server) MendSaves(tb testing.TB) {
	tb.Helper()
	if err := s.Client().ConfigSet(context.Background(), "save", "").Err(); err != nil {
		tb.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "dump.rdb")); err != nil {
		tb.Fatal(err)
	}
}

// run starts the process and waits until it replies.
func (s *Server) run() error {
	process, err := start(s.dir, append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir,
		"--save", "", "--appendonly", "no",
	}, s.flags...)...)
	if err != nil {
		return err
	}
	if err = s.await(process); err != nil {
		process.kill()
		return fmt.Errorf("%w\n%s", err, process.output())
	}
	s.process = process
	return nil
}

// await polls until the server replies, has ended, or time is up.
func (s *Server) await(p *process) error {
	client := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1})
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		// The reply must be this process's, not that of another process on the port.
		err := s.listening()
		if err == nil {
			var info map[string]map[string]string
			info, err = client.InfoMap(ctx, "server").Result()
			if err == nil && info["Server"]["process_id"] == strconv.Itoa(p.pid()) {
				return nil
			}
		}
		select {
		case <-p.ended:
			return fmt.Errorf("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("it doesn't reply within %v: %w", timeout, err)
		case <-tick.C:
		}
	}
}

// listening spares the log go-redis' complaint about every vain attempt.
func (s *Server) listening() error {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// claims keep the ports that this process has chosen, for as long as it lives. claiming guards them.
var (
	claiming sync.Mutex
	claims   []net.Listener
)

// freePort is a port that nobody listens on, and that stays free while its server is stopped: it
// is below those that systems give to outgoing connections and to listeners without a wish, and
// other test processes find it claimed, at another address of this host.
func freePort() (port int, err error) {
	for range 100 {
		port = 10_000 + rand.IntN(20_000)
		claim, taken := net.Listen("tcp", net.JoinHostPort("127.0.0.2", strconv.Itoa(port)))
		if errors.Is(taken, syscall.EADDRINUSE) {
			continue
		}
		if taken == nil { // not every system has the address
			claiming.Lock()
			claims = append(claims, claim)
			claiming.Unlock()
		}
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no port is free: %w", err)
}

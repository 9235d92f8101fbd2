package redistest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/poll"
)

// GoFrame's packages start goroutines for good as they are imported.
func TestMain(m *testing.M) { leaktest.Main(m) }

func TestServerServesBothClients(t *testing.T) {
	s := Start(t)
	ctx := context.Background()
	if err := s.Client().Set(ctx, "a", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	v, err := s.GoFrame(t).Get(ctx, "a")
	if err != nil || v.String() != "1" {
		t.Fatalf("GoFrame's client got %v, %v", v, err)
	}
}

func TestRestartIsEmptyOnTheSamePort(t *testing.T) {
	s := Start(t)
	ctx, client, addr := context.Background(), s.Client(), s.Addr()
	if err := client.Set(ctx, "a", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Stop()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Fatal("a stopped server replies")
	}
	s.Restart(t)
	if n, err := client.DBSize(ctx).Result(); err != nil || n != 0 || s.Addr() != addr {
		t.Fatalf("%d keys after a restart, error %v, address %s", n, err, s.Addr())
	}
}

func TestServerGoesBackToItsSnapshot(t *testing.T) {
	s := Start(t, "--appendonly", "yes", "--appendfsync", "always")
	ctx, client := context.Background(), s.Client()
	set := func(value string) {
		t.Helper()
		if err := client.Set(ctx, "a", value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("old")
	restore := s.Snapshot(t)
	set("new")
	restore()
	if got := client.Get(ctx, "a").Val(); got != "old" {
		t.Fatalf("the server holds %q", got)
	}
	set("newest")
	s.Restart(t)
	if got := client.Get(ctx, "a").Val(); got != "newest" {
		t.Fatalf("the server holds %q after a restart", got)
	}
}

func TestPausedServerKeepsItsConnections(t *testing.T) {
	s := Start(t)
	client := s.Client()
	if err := client.Ping(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	s.Pause()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Fatal("a paused server replies")
	}
	s.Resume()
	if err := client.Ping(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestServersDontShareAnything(t *testing.T) {
	a, b := Start(t), Start(t)
	if err := a.Client().Set(context.Background(), "a", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n := b.Client().DBSize(context.Background()).Val(); n != 0 {
		t.Fatalf("%d keys", n)
	}
}

func TestClusterTakesEveryKey(t *testing.T) {
	c := StartCluster(t, 3)
	client, ctx := c.Client(), context.Background()
	for n := range 50 {
		if err := client.Set(ctx, "key"+strconv.Itoa(n), n, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for n, s := range c.Masters {
		if keys := s.Client().DBSize(ctx).Val(); keys == 0 {
			t.Errorf("master %d has no key", n)
		}
	}
}

// TestServerDiesWithItsTest runs this test in a process that is killed.
func TestServerDiesWithItsTest(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // it doesn't, there
	}
	if os.Getenv("REDISTEST_VICTIM") != "" {
		fmt.Println("victim", Start(t).Addr())
		select {}
	}
	victim := exec.Command(os.Args[0], "-test.run", "^TestServerDiesWithItsTest$")
	victim.Env = append(os.Environ(), "REDISTEST_VICTIM=yes")
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = victim.Start(); err != nil {
		t.Fatal(err)
	}
	var addr string
	for lines := bufio.NewScanner(out); addr == "" && lines.Scan(); {
		addr, _ = strings.CutPrefix(lines.Text(), "victim ")
	}
	_ = victim.Process.Kill()
	_ = victim.Wait()
	poll.Until(t, "the server ends after its test", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return true
		}
		_ = conn.Close()
		return false
	})
}

func TestServerThatFailsToSaveRefusesWrites(t *testing.T) {
	s := Start(t)
	client, ctx := s.Client(), context.Background()
	s.FailSaves(t)
	if err := client.Set(ctx, "a", "1", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "MISCONF") {
		t.Errorf("a write gets %v", err)
	}
	s.MendSaves(t)
	if err := client.Set(ctx, "a", "1", 0).Err(); err != nil {
		t.Error(err)
	}
}

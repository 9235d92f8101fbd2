package redisstore_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// frozenNode has the address of the server if this process is the node of TestAFrozenNode.
const frozenNode = "STRATA_FROZEN_NODE"

// A node whose process stood still while another one logged a session out serves nothing of it from
// memory when it goes on, whether its connections have lived on or not.
func TestAFrozenNode(t *testing.T) {
	if url := os.Getenv(frozenNode); url != "" {
		serveUntilLoggedOut(t, url)
		return
	}
	for name, meanwhile := range map[string]func(*fixture){
		"alone":                     func(*fixture) {},
		"its connections were lost": func(f *fixture) { f.check(f.raw.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err()) },
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			s := f.open()
			f.write(s, "user", 1)
			node := exec.Command(os.Args[0], "-test.run", "^TestAFrozenNode$")
			node.Env = append(os.Environ(), frozenNode+"="+f.server.URL())
			node.Stderr = os.Stderr
			stdout, err := node.StdoutPipe()
			f.check(err)
			f.check(node.Start())
			t.Cleanup(func() { _ = node.Process.Kill(); _ = node.Wait() })
			lines := bufio.NewScanner(stdout)
			next := func(word string) string {
				for lines.Scan() {
					if _, rest, ok := strings.Cut(lines.Text(), word); ok {
						return rest
					}
				}
				t.Fatalf("the node has ended before it said %q", word)
				return ""
			}
			next("served from memory")

			f.check(node.Process.Signal(syscall.SIGSTOP))
			var status syscall.WaitStatus
			_, err = syscall.Wait4(node.Process.Pid, &status, syscall.WUNTRACED, nil)
			if f.check(err); !status.Stopped() {
				t.Fatalf("the node isn't stopped: %v", status)
			}
			f.check(s.RemoveAll(ctx, "user"))
			meanwhile(f)
			time.Sleep(redisstore.DefaultLease)
			goesOn := time.Now().UnixNano()
			f.check(node.Process.Signal(syscall.SIGCONT))

			began, err := strconv.ParseInt(next("last read that found it began at "), 10, 64)
			f.check(err)
			if late := time.Duration(began - goesOn); late > 0 {
				t.Errorf("a read that began %v after the node went on found the session", late)
			}
		})
	}
}

// serveUntilLoggedOut reads a session without a pause, and prints when the last read began that found it.
func serveUntilLoggedOut(t *testing.T, url string) {
	s, err := redisstore.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	chain := local.New(s)
	defer func() { _ = chain.Close(ctx); _ = s.Close(ctx) }()
	var last atomic.Int64
	var warm atomic.Bool
	all(4, func(int) {
		for {
			began := time.Now().UnixNano()
			read, err := chain.Load(ctx, "user", ttl)
			switch {
			case err != nil: // the connection was lost
			case read.Snapshot == nil:
				return
			default:
				for newest := last.Load(); began > newest && !last.CompareAndSwap(newest, began); newest = last.Load() {
				}
				if read.Outcome == tiers.OutcomeHit && warm.CompareAndSwap(false, true) {
					fmt.Println("served from memory")
				}
			}
		}
	})
	fmt.Println("last read that found it began at " + strconv.FormatInt(last.Load(), 10))
}

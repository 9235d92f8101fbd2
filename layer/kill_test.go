package layer_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// The environment of the process that is killed: this test binary, run again.
const (
	victimRedis   = "STRATA_TEST_VICTIM_REDIS"
	victimJournal = "STRATA_TEST_VICTIM_JOURNAL"
	victimRound   = "STRATA_TEST_VICTIM_ROUND"
)

const (
	victimWriters = 4
	victimIDs     = 8 // of each writer
)

// victim writes behind with a journal until it is killed, or its standard input ends.
// It tells first what it finds, and then each change once it has been accepted.
func victim() error {
	ctx := context.Background()
	store, err := redisstore.Open(os.Getenv(victimRedis))
	if err != nil {
		return err
	}
	chain := layer.Chain(store,
		layer.Coalesced(layer.WriteBehind(20*time.Millisecond), layer.Journal(os.Getenv(victimJournal))), layer.Local())
	manager := gsession.New(time.Hour, chain)
	var out sync.Mutex
	say := func(what, id string, n int) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(what, id, n)
	}
	number := func(id string) (int, error) {
		value, err := manager.New(ctx, id).Get("n")
		if err != nil || value.IsNil() {
			return 0, err
		}
		return value.Int(), nil
	}
	round := os.Getenv(victimRound)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() && lines.Text() != "" { // the ids that it is asked for
		n, err := number(lines.Text())
		if err != nil {
			return err
		}
		say("found", lines.Text(), n)
	}
	say("ready", "-", 0)
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	var group sync.WaitGroup
	failed := make(chan error, victimWriters)
	for writer := range victimWriters {
		group.Go(func() {
			for step := 0; ; step++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("known-%d-%d", writer, step%victimIDs)
				if step%10 == 9 {
					id = fmt.Sprintf("new-%s-%d-%d", round, writer, step)
				}
				request := manager.New(ctx, id)
				value, err := request.Get("n", 0)
				if err == nil {
					err = request.Set("n", value.Int()+1)
				}
				if err == nil {
					err = request.Close()
				}
				if err != nil {
					failed <- err
					return
				}
				say("accepted", id, value.Int()+1)
			}
		})
	}
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	return chain.Close(ctx)
}

// TestEveryAcceptedChangeSurvivesAKill kills a process fifty times at random moments,
// and asks the next one for every change that had been accepted.
func TestEveryAcceptedChangeSurvivesAKill(t *testing.T) {
	t.Parallel()
	const kills = 50
	server := redistest.Start(t)
	journal := t.TempDir()
	accepted := map[string]int{}
	pending := 0
	for round := range kills + 1 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimRedis+"="+server.URL(), victimJournal+"="+journal, victimRound+"="+strconv.Itoa(round))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for id := range accepted { // all: one that was killed twice before it told may hold two more
			fmt.Fprintln(in, id)
		}
		fmt.Fprintln(in)
		if round == kills { // the last one ends in good order
			_ = in.Close()
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			what, rest, _ := strings.Cut(lines.Text(), " ")
			id, count, ok := strings.Cut(rest, " ")
			n, err := strconv.Atoi(count)
			if !ok || err != nil {
				continue // a line that the kill has cut
			}
			switch what {
			case "found":
				// One more may have been accepted than it came to tell.
				if n != accepted[id] && n != accepted[id]+1 {
					t.Errorf("kill %d: a session holds %d, and %d was accepted", round, n, accepted[id])
				}
				accepted[id] = n
			case "ready":
				if round < kills {
					after := time.Duration(rand.IntN(60)) * time.Millisecond
					time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
				}
			case "accepted":
				accepted[id] = n
				pending++
			}
		}
		err = cmd.Wait()
		if round == kills && err != nil {
			t.Errorf("the last process ended with %v", err)
		}
		if t.Failed() {
			return
		}
	}
	if pending < kills*10 {
		t.Errorf("%d changes were accepted in all, too few to prove anything", pending)
	}
	store := redisstore.New(server.Client())
	for id, n := range accepted {
		read, err := store.Load(context.Background(), id, time.Hour)
		if err != nil || read.Snapshot == nil || number(read.Snapshot) != n && number(read.Snapshot) != n+1 {
			t.Errorf("in the end Redis holds %v of a session, and %d was accepted, %v", read.Snapshot, n, err)
		}
	}
	t.Logf("%d changes of %d sessions were accepted in %d processes", pending, len(accepted), kills+1)
}

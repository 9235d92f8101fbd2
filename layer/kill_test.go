package layer_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// The environment of the process that is killed: this test binary, run again.
const (
	victimRedis   = "STRATA_TEST_VICTIM_REDIS"
	victimJournal = "STRATA_TEST_VICTIM_JOURNAL"
	victimRound   = "STRATA_TEST_VICTIM_ROUND"

	killsEnv = "STRATA_TEST_KILLS" // how many, where a test is to run for longer
)

const (
	victimWriters = 4
	victimIDs     = 5 // of each writer
)

var victimKeys = strings.Fields("n r a0 a1 a2 a3 a4 a5 a6")

// victim writes behind with a journal until it is killed, or its standard input ends. It
// reads the ids of sessions that are there, delivers what the journal holds, and says ready;
// a line has it begin. It reports what it is about to do, and when that was accepted.
func victim() error {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: os.Getenv(victimRedis), ContextTimeoutEnabled: true, ReadTimeout: time.Second})
	var out sync.Mutex
	say := func(words ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(words...)
	}
	chain, err := layer.New(redisstore.New(client), layer.Coalesced(
		layer.WriteBehind(20*time.Millisecond), layer.Journal(os.Getenv(victimJournal)),
		layer.OnGiveUp(func(g layer.GiveUp) { say("lost", g.Changes) })), layer.Local())
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	var known []string
	for lines.Scan() && lines.Text() != "" {
		known = append(known, lines.Text())
	}
	late, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := chain.Flush(late); err != nil {
		return err
	}
	say("ready")
	if !lines.Scan() {
		return chain.Close(ctx)
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	manager := gsession.New(time.Hour, chain)
	var group sync.WaitGroup
	for writer := range victimWriters {
		var ids []string
		for n := writer; n < len(known); n += victimWriters {
			ids = append(ids, known[n])
		}
		group.Go(func() {
			for step := 0; ; step++ {
				select {
				case <-stop:
					return
				default:
				}
				var id string
				kind := []string{"change", "add", "remove", "replace", "change", "add", "logout"}[rand.IntN(7)]
				if len(ids) < victimIDs {
					id, kind = fmt.Sprintf("s-%s-%d-%d", os.Getenv(victimRound), writer, step), "begin"
					ids = append(ids, id)
				} else {
					n := rand.IntN(len(ids))
					if id = ids[n]; kind == "logout" {
						ids = append(ids[:n], ids[n+1:]...)
					}
				}
				if err := change(ctx, chain, manager, id, kind, step, say); err != nil {
					say("refused", id)
				} else {
					say("accepted", id)
				}
			}
		})
	}
	group.Wait()
	return chain.Close(ctx)
}

// change makes one change of a session: it says which, key by key, before.
func change(ctx context.Context, chain *layer.Stack, manager *gsession.Manager, id, kind string, step int, say func(...any)) error {
	request := manager.New(ctx, id)
	data, err := request.Data()
	if err != nil {
		say("try", id, "nothing")
		return err
	}
	n := request.MustGet("n", 0).Int() + 1
	switch key := fmt.Sprint("a", step%7); kind {
	case "begin", "change":
		say("try", id, "set", "n", n)
		err = request.Set("n", n)
	case "add":
		say("try", id, "set", key, step)
		err = request.Set(key, step)
	case "remove":
		for other := range data {
			if other != "n" {
				key = other
			}
		}
		say("try", id, "remove", key)
		err = request.Remove(key)
	case "replace":
		say("try", id, "whole", n, step)
		return chain.SetSession(ctx, id, gmap.NewStrAnyMapFrom(map[string]any{"n": n, "r": step}, true), time.Hour)
	case "logout":
		say("try", id, "logout")
		return chain.RemoveAll(ctx, id)
	}
	if err == nil {
		err = request.Close()
	}
	return err
}

// account is what a process has account of a session.
type account struct {
	states []map[string]string // that it may have by now, in order; nil for no session. The last one is what was accepted last.
	next   map[string]string   // with what it was about to do
	change []string            // what that is
	trying bool
	doubt  []map[string]string // what it had if a change that was refused was applied all the same
	anew   bool                // it was emptied, which ends a session, and begun again
	out    bool                // its log-out has returned
}

func (h *account) last() map[string]string { return h.states[len(h.states)-1] }

// changed is a state after a change; nil is no session.
func changed(state map[string]string, change []string) map[string]string {
	next := maps.Clone(state)
	if next == nil {
		next = map[string]string{}
	}
	switch change[0] {
	case "set":
		next[change[1]] = change[2]
	case "remove":
		delete(next, change[1])
	case "whole":
		next = map[string]string{"n": change[1], "r": change[2]}
	case "logout":
		next = nil
	}
	return next
}

// try notes what a process is about to do.
func (h *account) try(change []string) {
	h.change, h.trying = change, true
	h.anew = h.anew || h.last() != nil && len(h.last()) == 0
	h.next = changed(h.last(), change)
}

func (h *account) accepted() {
	h.states, h.trying = append(h.states, h.next), false
	h.out = h.next == nil
	for n, state := range h.doubt {
		h.doubt[n] = changed(state, h.change)
	}
}

// refused notes that what was tried may have been applied, or be later.
func (h *account) refused() {
	h.states = append(h.states, h.next, h.last())
	h.doubt = append(h.doubt, h.next)
}

// doubted is whether each key but the one that is left out has what it has if some of the refused
// changes were applied.
func (h *account) doubted(held map[string]string, without string) bool {
	states := append([]map[string]string{h.last()}, h.doubt...)
	if h.trying {
		states = append(states, h.next)
	}
	for _, key := range victimKeys {
		if key != without && !slices.ContainsFunc(states, func(state map[string]string) bool { return state[key] == held[key] }) {
			return false
		}
	}
	return len(h.doubt) > 0
}

// killing is one Redis, one journal, processes that are killed, and another node that
// writes meanwhile.
type killing struct {
	*testing.T
	server  *redistest.Server
	proxy   *redistest.Proxy
	journal string
	fill    string         // a file that fills the journal's disk, "" for none
	hinders sync.WaitGroup // what begins to hinder, by a timer
	other   *redisstore.Storage
	model   map[string]*account
	out     map[string]bool // sessions that were logged out
	theirs  map[string]string
	done    int
	lost    int
	history map[string][]string // of each session, for the explanation of what is wrong
}

func newKilling(t *testing.T, journal, fill string) *killing {
	server := redistest.Start(t)
	return &killing{T: t, server: server, proxy: redistest.StartProxy(t, server.Addr()), journal: journal, fill: fill,
		other: redisstore.New(server.Client()), model: map[string]*account{}, out: map[string]bool{}, history: map[string][]string{}}
}

// holds is what Redis has of a session.
func (k *killing) holds(id string) map[string]string {
	k.Helper()
	read, err := k.other.Load(context.Background(), id, time.Hour)
	if err != nil {
		k.Fatal(err)
	}
	if read.Snapshot == nil {
		return nil
	}
	held := map[string]string{}
	for key, value := range read.Snapshot.Map() {
		held[key] = fmt.Sprint(value)
	}
	return held
}

// meanwhile is what the other node does while no process runs: it changes sessions, and logs
// some out. Its writes are newer than all that the journal holds.
func (k *killing) meanwhile(round int) {
	k.theirs = map[string]string{}
	ctx := context.Background()
	for id, h := range k.model {
		held := k.holds(id)
		if len(held) == 0 || h.anew { // what waits in a journal only, no other node can end
			continue
		}
		switch rand.IntN(6) {
		case 0:
			if err := k.other.RemoveAll(ctx, id); err != nil {
				k.Fatal(err)
			}
			k.out[id] = true
			k.history[id] = append(k.history[id], fmt.Sprint("another node: logout of ", held))
		case 1, 2:
			m, err := k.other.GetSession(ctx, id, time.Hour)
			if err != nil {
				k.Fatal(err)
			}
			if m == nil {
				continue
			}
			k.theirs[id] = fmt.Sprint(1_000_000 * (round + 1))
			m.Set("n", 1_000_000*(round+1))
			k.history[id] = append(k.history[id], "another node: n "+k.theirs[id])
			if err := k.other.SetSession(ctx, id, m, time.Hour); err != nil {
				k.Fatal(err)
			}
		}
	}
}

// check compares what Redis holds, once the next process has delivered what the journal
// held, with what the one before had accepted. It returns which sessions lack something.
func (k *killing) check(round int) (lacking []string) {
	for id := range k.out {
		if held := k.holds(id); held != nil {
			k.Errorf("round %d: a session that was logged out is back: %v, after %q", round, held, k.history[id])
		}
	}
	for id, h := range k.model {
		held := k.holds(id)
		if k.out[id] {
			delete(k.model, id)
			continue
		}
		newer, overwritten := k.theirs[id]
		if overwritten && held != nil && held["n"] != newer {
			k.Errorf("round %d: what another node has written is overwritten by %s, after %q", round, held["n"], k.history[id])
		}
		theirs := ""
		if overwritten {
			theirs = "n"
		}
		matches := func(state map[string]string) bool {
			if state != nil && overwritten {
				state = maps.Clone(state)
				state["n"] = newer
			}
			return maps.Equal(state, held) // an empty session is none
		}
		if !matches(h.last()) && !(h.trying && matches(h.next)) && !h.doubted(held, theirs) {
			lacking = append(lacking, fmt.Sprintf("%v in place of %v, after %q", held, h.last(), k.history[id]))
			for key, value := range held { // it may be older, and nothing else
				if overwritten && key == "n" {
					continue
				}
				known := h.trying && h.next[key] == value
				for _, state := range h.states {
					known = known || state[key] == value
				}
				if !known {
					k.Errorf("round %d: a session has %s %s, which nobody has written, after %q", round, key, value, k.history[id])
				}
			}
		}
		if held == nil {
			delete(k.model, id)
		} else {
			k.model[id] = &account{states: []map[string]string{held}}
		}
	}
	return lacking
}

// run starts a process, and kills it after a while; the last one ends in good order.
func (k *killing) run(round int, last bool) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimRedis+"="+k.proxy.Addr(), victimJournal+"="+k.journal, victimRound+"="+strconv.Itoa(round))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		k.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.Fatal(err)
	}
	lacking, reported := []string(nil), 0
	write := func(line string) {
		if _, err := fmt.Fprintln(in, line); err != nil {
			k.Errorf("round %d: the process has ended: %v", round, err)
		}
	}
	for id := range k.model {
		if !k.out[id] {
			write(id)
		}
	}
	write("")
	var stuck *time.Timer
	killed, moment := make(chan struct{}), rand.IntN(40)
	kill := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		close(killed)
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) > 1 {
			k.history[words[1]] = append(k.history[words[1]], lines.Text())
		}
		switch {
		case len(words) == 1 && words[0] == "ready":
			lacking = k.check(round)
			if last {
				_ = in.Close()
				continue
			}
			k.hinder(round)
			write("go")
			stuck = time.AfterFunc(5*time.Second, kill)
		case len(words) == 2 && words[0] == "lost":
			n, _ := strconv.Atoi(words[1])
			reported += n
		case len(words) >= 3 && words[0] == "try":
			if k.model[words[1]] == nil {
				k.model[words[1]] = &account{states: []map[string]string{nil}}
			}
			k.model[words[1]].try(words[2:])
		case len(words) == 2 && words[0] == "accepted":
			h := k.model[words[1]]
			if h.accepted(); h.out {
				k.out[words[1]] = true
			}
			// One that gets no reply from the server accepts nothing more.
			if k.done++; !last {
				stuck.Reset(500 * time.Millisecond)
			}
			if !last && moment == 0 {
				time.AfterFunc(time.Duration(rand.IntN(10_000))*time.Microsecond, kill)
			}
			moment--
		case len(words) == 2 && words[0] == "refused":
			k.model[words[1]].refused()
		}
	}
	if err := cmd.Wait(); last && err != nil {
		k.Errorf("the last process ended with %v", err)
	}
	if !last {
		<-killed
	}
	k.relieve()
	k.lost += reported
	if len(lacking) > reported {
		k.Errorf("round %d: %d sessions lack what was accepted, and %d changes were reported as lost:\n%s",
			round, len(lacking), reported, strings.Join(lacking, "\n"))
	}
}

// hinder has the server refuse writes for a round, replies get lost, or the disk be full.
func (k *killing) hinder(round int) {
	switch {
	case round%4 == 1:
		if err := k.server.Client().ConfigSet(context.Background(), "maxmemory", "1").Err(); err != nil {
			k.Fatal(err)
		}
	case round%4 == 2:
		k.soon(k.proxy.StallAnswers)
	}
	if k.fill != "" && round%3 != 0 {
		k.soon(func() { _ = os.WriteFile(k.fill, make([]byte, 8<<20), 0o600) })
	}
}

func (k *killing) soon(hinder func()) {
	k.hinders.Go(func() {
		time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
		hinder()
	})
}

func (k *killing) relieve() {
	k.hinders.Wait()
	k.proxy.Cut()
	k.proxy.Resume()
	if err := k.server.Client().ConfigSet(context.Background(), "maxmemory", "0").Err(); err != nil {
		k.Fatal(err)
	}
	if k.fill != "" {
		_ = os.Remove(k.fill)
	}
}

func (k *killing) all(kills int) {
	if n, err := strconv.Atoi(os.Getenv(killsEnv)); err == nil {
		kills = n
	}
	for round := range kills + 1 {
		k.run(round, round == kills)
		if k.Failed() {
			return
		}
		k.meanwhile(round)
	}
	if k.done < kills*3 {
		k.Errorf("%d changes were accepted in all, too few to prove anything", k.done)
	}
	info, err := os.Stat(filepath.Join(k.journal, "pending.db"))
	if err != nil {
		k.Fatal(err)
	}
	k.Logf("%d kills, %d changes accepted, %d reported as lost, %d sessions logged out, a file of %d KiB", kills, k.done, k.lost, len(k.out), info.Size()>>10)
}

// A process is killed at random moments, with changes of five kinds and log-outs under way,
// while the server refuses writes or replies get lost, and another node writes in between:
// what was accepted is there or reported, no session is back, and nothing newer overwritten.
func TestEveryAcceptedChangeSurvivesAKill(t *testing.T) {
	t.Parallel()
	newKilling(t, t.TempDir(), "").all(16)
}

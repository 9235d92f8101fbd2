package layer_test

import (
	"bufio"
	"context"
	"errors"
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
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
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

// victim writes behind with a journal until it is killed, or its standard input ends. It
// reads the ids of sessions that are there, delivers what the journal holds, and says ready.
// Then each line is a session, a kind of change to make and its value, and one of a single word has it make
// changes at random. It reports what it is about to do, and when that was accepted.
func victim() error {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: os.Getenv(victimRedis), ContextTimeoutEnabled: true, ReadTimeout: time.Second})
	var out sync.Mutex
	say := func(words ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(words...)
	}
	round, err := strconv.Atoi(os.Getenv(victimRound))
	if err != nil {
		return err
	}
	var reported atomic.Int64
	chain, err := layer.New(redisstore.New(client), layer.Coalesced(
		layer.WriteBehind(20*time.Millisecond), layer.Journal(os.Getenv(victimJournal)),
		layer.OnGiveUp(func(g layer.GiveUp) {
			say("lost", g.Changes, errors.Is(g.Cause, tiers.ErrRevoked))
			reported.Add(int64(g.Changes))
		})), layer.Local())
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
	coalesced, _ := layer.As[*coalesce.Storage](chain)
	for reported.Load() < coalesced.Tally().Total(telemetry.GiveUpRevoked)+coalesced.Tally().Total(telemetry.GiveUpFailed) && late.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	say("ready")
	manager := gsession.New(time.Hour, chain)
	do := func(id, kind string, step int) (gone bool) {
		gone, err := change(ctx, chain, manager, id, kind, step, say)
		if err != nil {
			say("refused", id)
		} else {
			say("accepted", id)
		}
		return gone
	}
	for {
		if !lines.Scan() {
			return chain.Close(ctx)
		}
		words := strings.Fields(lines.Text())
		if len(words) < 3 {
			break
		}
		step, err := strconv.Atoi(words[2])
		if err != nil {
			return err
		}
		do(words[0], words[1], step)
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
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
				n, kind := 0, []string{"change", "add", "remove", "replace", "change", "add", "logout"}[rand.IntN(7)]
				if len(ids) < victimIDs {
					n, id, kind = len(ids), fmt.Sprintf("s-%d-%d-%d", round, writer, step), "begin"
					ids = append(ids, id)
				} else {
					n = rand.IntN(len(ids))
					id = ids[n]
				}
				if do(id, kind, (round*victimWriters+writer)*100_000+step) {
					ids = slices.Delete(ids, n, n+1)
				}
			}
		})
	}
	group.Wait()
	return chain.Close(ctx)
}

// change makes one change of a session. It says before which, key by key, and which of the other node's
// changes it has seen. The session is gone if the process doesn't use it any more.
func change(ctx context.Context, chain *layer.Stack, manager *gsession.Manager, id, kind string, step int, say func(...any)) (gone bool, err error) {
	request := manager.New(ctx, id)
	data, err := request.Data()
	if err != nil {
		say("try", id, 0, "nothing")
		return false, err
	}
	try := func(words ...any) { say(append([]any{"try", id, request.MustGet(theirKey, 0)}, words...)...) }
	if len(data) == 0 && kind != "begin" {
		try("gone")
		return true, nil
	}
	switch key := fmt.Sprint("a", step%7); kind {
	case "begin", "change":
		try("set", "n", step)
		err = request.Set("n", step)
	case "add":
		try("set", key, step)
		err = request.Set(key, step)
	case "remove":
		for other := range data {
			if other != "n" && other != theirKey {
				key = other
			}
		}
		if _, has := data[key]; !has {
			try("nothing")
			return false, request.Close()
		}
		try("remove", key)
		err = request.Remove(key)
	case "replace":
		try("whole", step)
		return false, chain.SetSession(ctx, id, gmap.NewStrAnyMapFrom(map[string]any{"n": step, "r": step}, true), time.Hour)
	case "logout":
		try("logout")
		return true, chain.RemoveAll(ctx, id)
	}
	if err == nil {
		err = request.Close()
	}
	return false, err
}

// theirKey is written by the other node alone, each time with a higher number.
const theirKey = "o"

// event is one step of a session's history on one side, in the order of that side.
type event struct {
	what  string            // set, remove, whole, logout, read, gone or nothing
	set   map[string]string // by set and whole
	key   string            // of remove
	state map[string]string // that a read showed, nil for no session
	fate  fate
	after int // how many events of the other side came before
}

type fate int

const (
	maybe    fate = iota // it may have been applied, or be later
	accepted             // it is applied, or reported as lost
	revoked              // there was no session
)

// state is what the store may hold of a session. A log-out leaves one that only a replacement begins again.
type state struct {
	held map[string]string // nil for no session
	out  bool
}

// apply is the state after an event, which isn't possible in each state.
func (s state) apply(e event) (state, bool) {
	switch next := maps.Clone(s.held); e.what {
	case "begin":
		return state{held: e.set}, s.held == nil && !s.out
	case "set":
		if next != nil {
			maps.Copy(next, e.set)
		}
		return state{held: next}, next != nil
	case "remove":
		delete(next, e.key)
		return state{held: next}, next != nil
	case "whole":
		return state{held: e.set}, true
	case "logout":
		return state{out: true}, true
	case "read", "gone":
		return s, (s.held == nil) == (e.state == nil) && maps.Equal(s.held, e.state)
	default:
		return s, true
	}
}

// account is the history of a session since a process was ready.
type account struct {
	start  map[string]string
	ours   []event // of the process that is killed
	theirs []event // of the other node
}

// lacks returns how many of the accepted changes the store lacks at least, in an order of both sides'
// events that explains what it holds and what the other node has read, if there is one: one by which no
// change overwrites what had been made when it was under way already, and nothing follows a log-out.
func (a *account) lacks(held map[string]string) (n int, explained bool) {
	type moment struct {
		ours, theirs int
		state        state
	}
	seen := map[string]bool{}
	for now := []moment{{0, 0, state{held: a.start}}}; len(now) > 0; n++ {
		var later []moment // with one lacking more
		for len(now) > 0 {
			m := now[len(now)-1]
			now = now[:len(now)-1]
			name := fmt.Sprint(m)
			if seen[name] {
				continue
			}
			seen[name] = true
			if m.ours == len(a.ours) && m.theirs == len(a.theirs) && maps.Equal(m.state.held, held) {
				return n, true
			}
			if m.theirs < len(a.theirs) {
				e := a.theirs[m.theirs]
				if next, ok := m.state.apply(e); ok && e.fate != revoked {
					now = append(now, moment{m.ours, m.theirs + 1, next})
				}
				if e.fate == maybe || e.fate == revoked && m.state.held == nil {
					now = append(now, moment{m.ours, m.theirs + 1, m.state})
				}
			}
			if m.ours < len(a.ours) && m.theirs >= a.ours[m.ours].after {
				e := a.ours[m.ours]
				next, ok := m.state.apply(e)
				if ok {
					now = append(now, moment{m.ours + 1, m.theirs, next})
				}
				left := moment{m.ours + 1, m.theirs, m.state}
				switch {
				case e.fate == maybe:
					now = append(now, left)
				case e.what != "gone" && e.what != "logout":
					later = append(later, left)
				}
			}
		}
		now = later
	}
	return 0, false
}

// stayed reports whether the session was there all the time.
func (a *account) stayed() bool {
	return a.start != nil && !slices.ContainsFunc(slices.Concat(a.ours, a.theirs), func(e event) bool { return e.what == "logout" })
}

// killing is one Redis, one journal, processes that are killed, and another node that writes to the same
// sessions all the time, except while they are checked.
type killing struct {
	*testing.T
	server  *redistest.Server
	proxy   *redistest.Proxy
	journal string
	fill    string         // a file that fills the journal's disk, "" for none
	hinders sync.WaitGroup // what begins to hinder, by a timer
	other   *redisstore.Storage
	out     map[string]bool // sessions that aren't there any more
	done    int
	lost    int         // changes that were reported
	lacking int         // and those that really were
	touched chan string // a session that the process uses
	number  int         // that the other node has written last; of its goroutine
	stop    func()      // the other node, which returns when it has stopped

	mu       sync.Mutex // guards what follows
	model    map[string]*account
	history  map[string][]string // of each session, for the explanation of what is wrong
	reported int                 // changes, since the last check
	revoked  int                 // of these, of sessions that were gone
}

func newKilling(t *testing.T, journal, fill string) *killing {
	server := redistest.Start(t)
	return &killing{T: t, server: server, proxy: redistest.StartProxy(t, server.Addr()), journal: journal, fill: fill,
		other: redisstore.New(server.Client()), model: map[string]*account{}, out: map[string]bool{}, history: map[string][]string{},
		touched: make(chan string, 1), stop: func() {}}
}

// texts is a session with its values as texts, nil for none.
func texts(data map[string]any) map[string]string {
	if len(data) == 0 {
		return nil
	}
	held := map[string]string{}
	for key, value := range data {
		held[key] = fmt.Sprint(value)
	}
	return held
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
	return texts(read.Snapshot.Map())
}

// meanwhile has the other node use the sessions, those first that the process uses, until it is stopped.
func (k *killing) meanwhile() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	k.stop = sync.OnceFunc(func() {
		close(stop)
		<-stopped
	})
	go func() {
		defer close(stopped)
		for {
			var id string
			select {
			case <-stop:
				return
			case id = <-k.touched:
			case <-time.After(300 * time.Microsecond):
				id = k.any()
			}
			if id != "" {
				k.use(id)
			}
		}
	}()
}

// any is some session, "" for none.
func (k *killing) any() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.model {
		return id
	}
	return ""
}

// use has the other node make one change of a session, or log it out.
func (k *killing) use(id string) {
	ctx := context.Background()
	m, err := k.other.GetSession(ctx, id, time.Hour)
	if err != nil {
		k.Errorf("another node's read: %v", err)
		return
	}
	held := map[string]string(nil)
	if m != nil {
		held = texts(m.Map())
	}
	k.note(id, event{what: "read", state: held, fate: accepted})
	if held == nil {
		return
	}
	if rand.IntN(12) == 0 {
		done := k.note(id, event{what: "logout"})
		done(k.other.RemoveAll(ctx, id))
		return
	}
	k.number++
	set := map[string]any{theirKey: k.number}
	switch rand.IntN(3) {
	case 0:
		set["n"] = -k.number
	case 1:
		set[fmt.Sprint("a", k.number%7)] = -k.number
	}
	for key, value := range set {
		m.Set(key, value)
	}
	done := k.note(id, event{what: "set", set: texts(set)})
	done(k.other.SetSession(ctx, id, m, time.Hour))
}

// account is called under mu.
func (k *killing) account(id string) *account {
	a := k.model[id]
	if a == nil {
		a = &account{}
		k.model[id] = a
	}
	return a
}

// note notes what the other node does, and returns what notes its end.
func (k *killing) note(id string, e event) (done func(error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.account(id)
	n := len(a.theirs)
	a.theirs = append(a.theirs, e)
	if e.what == "read" {
		k.history[id] = append(k.history[id], fmt.Sprint("another node: read ", e.state))
	} else {
		k.history[id] = append(k.history[id], fmt.Sprint("another node: ", e.what, e.set))
	}
	return func(err error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		switch {
		case err == nil:
			a.theirs[n].fate = accepted
		case errors.Is(err, tiers.ErrRevoked):
			a.theirs[n].fate = revoked
		}
		k.history[id] = append(k.history[id], fmt.Sprint("another node: ", err))
	}
}

// tried notes what the process is about to do.
func (k *killing) tried(id string, words []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.account(id)
	e := event{what: words[1]}
	switch e.what {
	case "set":
		e.set = map[string]string{words[2]: words[3]}
		if a.start == nil && len(a.ours) == 0 {
			e.what = "begin"
		}
	case "remove":
		e.key = words[2]
	case "whole":
		e.set = map[string]string{"n": words[2], "r": words[2]}
	case "gone":
		e.fate = accepted
	}
	e.after = 1 + slices.IndexFunc(a.theirs, func(their event) bool { return their.set[theirKey] == words[0] })
	a.ours = append(a.ours, e)
}

// accepted notes that what was tried last was accepted.
func (k *killing) accepted(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ours := k.model[id].ours
	ours[len(ours)-1].fate = accepted
}

// check compares what Redis holds, once the next process has delivered what the journal
// held, with what the one before had accepted and the other node did meanwhile.
func (k *killing) check(round int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.out {
		if held := k.holds(id); held != nil {
			k.Errorf("round %d: a session that was gone is back: %v, after %q", round, held, k.history[id])
		}
	}
	var lacking []string
	sum, inStayed := 0, 0
	for id, a := range k.model {
		held := k.holds(id)
		switch n, explained := a.lacks(held); {
		case !explained:
			k.Errorf("round %d: no order of what was done explains %v, after %v and\n%s", round, held, a.start, strings.Join(k.history[id], "\n"))
		case n > 0:
			if sum += n; a.stayed() {
				inStayed += n
			}
			lacking = append(lacking, fmt.Sprintf("%v, after %v and\n%s", held, a.start, strings.Join(k.history[id], "\n")))
		}
		if delete(k.history, id); held == nil {
			delete(k.model, id)
			k.out[id] = true
		} else {
			k.model[id] = &account{start: held}
		}
	}
	if sum > k.reported || inStayed > k.reported-k.revoked {
		k.Errorf("round %d: %d accepted changes are lacking, %d of sessions that stayed, and %d were reported as lost, %d of sessions that were gone:\n%s",
			round, sum, inStayed, k.reported, k.revoked, strings.Join(lacking, "\n\n"))
	}
	k.lost, k.lacking, k.reported, k.revoked = k.lost+k.reported, k.lacking+sum, 0, 0
}

// process starts a process, and returns how to write lines to it, and its own.
func (k *killing) process(round int) (cmd *exec.Cmd, in io.WriteCloser, lines *bufio.Scanner) {
	k.Helper()
	cmd = exec.Command(os.Args[0])
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
	k.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, in, bufio.NewScanner(out)
}

// run starts a process, and kills it after a while; the last one ends in good order.
func (k *killing) run(round int, last bool) {
	cmd, in, lines := k.process(round)
	write := func(line string) {
		if _, err := fmt.Fprintln(in, line); err != nil {
			k.Errorf("round %d: the process has ended: %v", round, err)
		}
	}
	for _, id := range k.known() {
		write(id)
	}
	write("")
	var stuck *time.Timer
	killed, moment := make(chan struct{}), rand.IntN(40)
	kill := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		close(killed)
	})
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) > 1 {
			k.mu.Lock()
			k.history[words[1]] = append(k.history[words[1]], lines.Text())
			k.mu.Unlock()
		}
		switch {
		case len(words) == 1 && words[0] == "ready":
			k.stop()
			if k.check(round); last {
				_ = in.Close()
				continue
			}
			k.meanwhile()
			k.hinder(round)
			write("go")
			stuck = time.AfterFunc(time.Second, kill)
		case len(words) == 3 && words[0] == "lost":
			n, _ := strconv.Atoi(words[1])
			k.mu.Lock()
			if k.reported += n; words[2] == "true" {
				k.revoked += n
			}
			k.mu.Unlock()
		case len(words) >= 4 && words[0] == "try":
			k.tried(words[1], words[2:])
			select {
			case k.touched <- words[1]:
			default:
			}
		case len(words) == 2 && words[0] == "accepted":
			k.accepted(words[1])
			// One that gets no reply from the server accepts nothing more.
			if k.done++; !last {
				stuck.Reset(500 * time.Millisecond)
			}
			if !last && moment == 0 {
				time.AfterFunc(time.Duration(rand.IntN(10_000))*time.Microsecond, kill)
			}
			moment--
		}
	}
	if err := cmd.Wait(); last && err != nil {
		k.Errorf("the last process ended with %v", err)
	}
	if !last {
		<-killed
	}
	k.relieve()
}

// known are the sessions that the next process may use.
func (k *killing) known() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.model))
}

// hinder has the server refuse writes for a round, replies get lost, commands come after the kill, or the disk be full.
func (k *killing) hinder(round int) {
	switch {
	case round%5 == 1:
		if err := k.server.Client().ConfigSet(context.Background(), "maxmemory", "1").Err(); err != nil {
			k.Fatal(err)
		}
	case round%5 == 2:
		k.soon(k.proxy.StallAnswers)
	case round%5 == 3:
		k.soon(func() {
			k.proxy.StallAnswers()
			time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
			k.proxy.Cut()
			k.proxy.Resume()
		})
	case round%5 == 4:
		k.soon(k.proxy.Stall)
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
	k.proxy.Resume() // what the process had sent comes now
	if !poll.Try(func() bool { return k.proxy.Conns() == 0 }) {
		k.Fatal("the connections of a process outlive it")
	}
	if err := k.server.Client().ConfigSet(context.Background(), "maxmemory", "0").Err(); err != nil {
		k.Fatal(err)
	}
	if k.fill != "" {
		_ = os.Remove(k.fill)
	}
}

func (k *killing) all(kills int) {
	defer func() { k.stop() }()
	if n, err := strconv.Atoi(os.Getenv(killsEnv)); err == nil {
		kills = n
	}
	// A slow machine accepts little before each kill, and has more of them.
	for round, last := 0, false; !last; round++ {
		if round > kills*10 {
			k.Fatalf("%d changes were accepted in all, too few to prove anything", k.done)
		}
		last = round >= kills && k.done >= kills*3
		if k.run(round, last); k.Failed() {
			return
		}
	}
	info, err := os.Stat(filepath.Join(k.journal, "pending.db"))
	if err != nil {
		k.Fatal(err)
	}
	k.Logf("%d kills or more, %d changes accepted, %d reported as lost, of which %d are, %d sessions gone, a file of %d KiB", kills, k.done, k.lost, k.lacking, len(k.out), info.Size()>>10)
}

// A process is killed at random moments, with changes of five kinds and log-outs under way,
// while the server refuses writes or replies get lost, and another node changes the same sessions and
// logs some out: what was accepted is there or reported, no session is back, and nothing newer overwritten.
func TestEveryAcceptedChangeSurvivesAKill(t *testing.T) {
	t.Parallel()
	newKilling(t, t.TempDir(), "").all(16)
}

// A process accepts changes that the server refuses, and is killed; another node changes the session. The next
// process writes what overwrites nothing newer, and reports the rest.
func TestWhatTheNextProcessLeavesOutIsReported(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kinds     []string       // of the process's changes, whose values are 1, 2, ...
		meanwhile map[string]any // what the other node sets, nil for a log-out
		want      map[string]string
		lost      int // at least, as a report may be of all changes that were made into one
	}{
		"another key changed":              {[]string{"change"}, map[string]any{"b": "x"}, map[string]string{"n": "1", "a0": "0", "b": "x"}, 0},
		"the key changed":                  {[]string{"change"}, map[string]any{"n": -1}, map[string]string{"n": "-1", "a0": "0"}, 1},
		"the key changed, and not another": {[]string{"change", "add"}, map[string]any{"n": -1}, map[string]string{"n": "-1", "a0": "0", "a2": "2"}, 1},
		"a removed key changed":            {[]string{"remove"}, map[string]any{"a0": -1}, map[string]string{"n": "0", "a0": "-1"}, 1},
		"a replaced session changed":       {[]string{"replace"}, map[string]any{"n": -1}, map[string]string{"n": "-1", "a0": "0"}, 1},
		"a log-out":                        {[]string{"change"}, nil, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const id = "directed"
			ctx := context.Background()
			k := newKilling(t, t.TempDir(), "")
			set := func(changes map[string]any) {
				m, err := k.other.GetSession(ctx, id, time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				if m == nil {
					m = gmap.NewStrAnyMap(true)
				}
				m.Sets(changes)
				if err := k.other.SetSession(ctx, id, m, time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			set(map[string]any{"n": 0, "a0": 0})
			takesWrites := func(does bool) {
				if err := k.server.Client().ConfigSet(ctx, "maxmemory", map[bool]string{true: "0", false: "1"}[does]).Err(); err != nil {
					t.Fatal(err)
				}
			}
			takesWrites(false)
			cmd, in, lines := k.process(1)
			_, _ = fmt.Fprintln(in) // it knows of no session
			for done := 0; done < len(c.kinds) && lines.Scan(); {
				switch word, _, _ := strings.Cut(lines.Text(), " "); word {
				case "accepted":
					done++
				case "ready", "refused": // which a busy machine's time-outs may be the reason of
				default:
					continue // beside its log
				}
				if done < len(c.kinds) {
					_, _ = fmt.Fprintln(in, id, c.kinds[done], done+1)
				}
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			takesWrites(true)
			if c.meanwhile != nil {
				set(c.meanwhile)
			} else if err := k.other.RemoveAll(ctx, id); err != nil {
				t.Fatal(err)
			}
			cmd, in, lines = k.process(2)
			_, _ = fmt.Fprintln(in)
			_ = in.Close()
			lost := 0
			for lines.Scan() {
				if words := strings.Fields(lines.Text()); words[0] == "lost" {
					n, _ := strconv.Atoi(words[1])
					lost += n
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("the next process ended with %v", err)
			}
			if held := k.holds(id); !maps.Equal(held, c.want) || lost < c.lost || lost > 0 && c.lost == 0 {
				t.Errorf("the store holds %v and %d changes were reported as lost, want %v and %d", held, lost, c.want, c.lost)
			}
		})
	}
}

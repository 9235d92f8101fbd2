package worker

import (
	"bufio"
	"context"
	"errors"
	"maps"
	"math"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/gf-strata/strata/bench/link"
	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/internal/redistest"
)

func TestUsageIsReadFromINFO(t *testing.T) {
	const info = "# Stats\r\ntotal_net_input_bytes:100\r\ntotal_net_output_bytes:50\r\n# CPU\r\nused_cpu_sys:0.5\r\nused_cpu_user:1.25\r\nused_cpu_sys_children:9\r\n" +
		"# Commandstats\r\ncmdstat_get:calls=10,usec=5,usec_per_call=0.5\r\ncmdstat_evalsha:calls=3,usec=5\r\ncmdstat_set:calls=2,usec=1\r\ncmdstat_info:calls=7,usec=1\r\ncmdstat_hget:calls=1,usec=1\r\n"
	var u Usage
	u.parse(info)
	if want := (Usage{RedisCPU: 1.75, Commands: 16, Gets: 11, Scripts: 3, RedisBytes: 150}); u != want {
		t.Errorf("parse = %+v, want %+v", u, want)
	}
}

func TestResponsesAreReadInBothForms(t *testing.T) {
	const fixed = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
	in := bufio.NewReader(strings.NewReader(fixed + chunked + fixed))
	var body []byte
	for n := range 3 {
		var err error
		if body, err = response(in, body); err != nil || string(body) != "hello" {
			t.Fatalf("response %d is %q, %v", n, body, err)
		}
	}
	for _, bad := range []string{"", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"} {
		if _, err := response(bufio.NewReader(strings.NewReader(bad)), nil); err == nil {
			t.Errorf("%q is taken for a response", bad)
		}
	}
}

func TestPausesAreThoseInBetween(t *testing.T) {
	buckets := []float64{0, 1, 2, 3, math.Inf(1)}
	before := &metrics.Float64Histogram{Counts: []uint64{5, 0, 0, 9}, Buckets: buckets}
	after := &metrics.Float64Histogram{Counts: []uint64{204, 1, 1, 9}, Buckets: buckets}
	if p99, longest := pauses(before, after); p99 != 1 || longest != 3 {
		t.Errorf("pauses = %v and %v, want 1 and 3", p99, longest)
	}
	if p99, longest := pauses(after, after); p99 != 0 || longest != 0 {
		t.Errorf("without any they are %v and %v", p99, longest)
	}
}

// nothing counts requests; sessions hold what they should.
type nothing struct {
	peers.Node
	ids map[string]int
}

type session struct {
	peers.Request
	id string
}

func (n nothing) Begin(_ context.Context, id string) peers.Request {
	n.ids[id]++
	return session{id: id}
}

func (s session) Get(key string) (any, error) { return load.Value(s.id, key), nil }
func (s session) Close() error                { return nil }

func TestASweepVisitsEachSessionOnce(t *testing.T) {
	job := Job{Op: load.Read, Shape: load.TenKeys, Sessions: 32, Workers: 1}
	node := nothing{ids: map[string]int{}}
	l := load.New(peers.Subject{}, node, job.Shape, load.IDs(0, job.Sessions))
	r := sweep(job, l)
	for _, most := range []int{5, 27} {
		if round, err := r.run(ctx, 0, most); err != nil || round.Requests != most || round.Times.N == 0 {
			t.Fatalf("run made %d requests with %d times, %v, want %d", round.Requests, round.Times.N, err, most)
		}
	}
	if len(node.ids) != job.Sessions {
		t.Errorf("%d sessions were visited, want %d", len(node.ids), job.Sessions)
	}
	four := sweep(Job{Op: load.Read, Sessions: 30, Workers: 4, Zipf: true}, l)
	seen := map[int]bool{}
	for w := range four.visitors {
		for range 7 {
			seen[four.visitors[w].next(28)] = true
			four.visitors[w].turn++
		}
	}
	if len(seen) != 28 {
		t.Errorf("four workers visit %d sessions, want 28", len(seen))
	}
}

func TestEachRoundDrawsItsOwnVisitsAndCountsThem(t *testing.T) {
	job := Job{Op: load.Read, Shape: load.TenKeys, Sessions: 1000, Zipf: true, Workers: 1}
	visits := func(r *rounds, node nothing) map[string]int {
		t.Helper()
		clear(node.ids)
		round, err := r.run(ctx, 0, 500)
		if err != nil {
			t.Fatal(err)
		}
		if round.Distinct != len(node.ids) {
			t.Errorf("%d distinct sessions are counted, want %d", round.Distinct, len(node.ids))
		}
		return maps.Clone(node.ids)
	}
	node := nothing{ids: map[string]int{}}
	l := load.New(peers.Subject{}, node, job.Shape, load.IDs(0, job.Sessions))
	one, other := newRounds(job, l), newRounds(job, l)
	first, second := visits(one, node), visits(one, node)
	if maps.Equal(first, second) {
		t.Error("a round replays the one before")
	}
	if !maps.Equal(first, visits(other, node)) {
		t.Error("subjects get other visits in the same round")
	}
}

// A round whose time is over before it begins, as on a busy machine, has requests to divide by.
func TestARoundHasRequests(t *testing.T) {
	job := Job{Op: load.Read, Shape: load.TenKeys, Sessions: 8, Workers: 1}
	node := nothing{ids: map[string]int{}}
	r := newRounds(job, load.New(peers.Subject{}, node, job.Shape, load.IDs(0, job.Sessions)))
	round, err := r.run(ctx, -time.Hour, 0)
	if err != nil || round.Requests < job.Workers {
		t.Errorf("%d requests of %d workers, %v", round.Requests, job.Workers, err)
	}
}

func TestNoSessionIsNotDividedBy(t *testing.T) {
	if got := perSession(100, 0); got != 0 {
		t.Errorf("without a cached session each takes %v", got)
	}
	if got := perSession(100, 10); got != 10 {
		t.Errorf("of ten each takes %v, want 10", got)
	}
}

func TestWritesAreTheirPartOfAMix(t *testing.T) {
	const turns = 100_000
	writes := 0
	for turn := range turns {
		if isWrite(turn, 0.05) {
			writes++
		}
		if isWrite(turn, 0) {
			t.Fatal("a mix without writes writes")
		}
	}
	if part := float64(writes) / turns; math.Abs(part-0.05) > 0.002 {
		t.Errorf("%v of the requests write, want 0.05", part)
	}
}

func TestAnErrorEndsTheRound(t *testing.T) {
	job := Job{Op: "unknown", Shape: load.TenKeys, Sessions: 4, Workers: 1}
	l := load.New(peers.Subject{}, nothing{ids: map[string]int{}}, job.Shape, load.IDs(0, 4))
	if _, err := newRounds(job, l).run(ctx, time.Hour, 0); err == nil {
		t.Error("a round of requests that fail ends well")
	}
}

func subject(t *testing.T, name string) peers.Subject {
	t.Helper()
	for _, s := range peers.All() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no subject %s", name)
	return peers.Subject{}
}

func TestSessionsWhoseSlideIsDueAreSlidOnce(t *testing.T) {
	server := redistest.Start(t)
	for _, name := range []string{"Strata", "ristretto + TTL by hand"} {
		ask := Ask{Env: peers.Env{Addr: server.Addr(), Direct: server.Addr(), TTL: peers.TTL, CacheTTL: time.Hour, CacheBytes: 1 << 20, CacheEntries: 1000},
			Job: Job{Op: load.Read, Shape: load.TenKeys, Sessions: 20, Workers: 1, Due: true}}
		r, err := open(subject(t, name), ask)
		if err != nil {
			t.Fatal(err)
		}
		for turn := range 2 {
			round, err := r.round(0, turn+1)
			if err != nil {
				t.Fatal(err)
			}
			if round.Requests != 20 || round.Usage.Commands < 20 {
				t.Errorf("%s: %d requests with %v commands, want 20 slides", name, round.Requests, round.Usage.Commands)
			}
		}
		if err = r.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHitsAreCountedByTheCacheItself(t *testing.T) {
	server := redistest.Start(t)
	ask := Ask{Env: peers.Env{Addr: server.Addr(), Direct: server.Addr(), TTL: peers.TTL, CacheTTL: time.Hour, CacheBytes: 1 << 20, CacheEntries: 1000},
		Job: Job{Op: load.Read, Shape: load.TenKeys, Sessions: 20, Workers: 1}}
	for _, tt := range []struct {
		name  string
		cache bool
	}{{"Strata", true}, {"rueidis DoCache", true}, {"otter + TTL by hand", true}, {"StorageRedis", false}} {
		r, err := open(subject(t, tt.name), ask)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := r.meter.read()
		if _, err = r.rounds.run(ctx, 0, 20); err != nil {
			t.Fatal(err)
		}
		after, _ := r.meter.read()
		if usage := after.since(before); usage.Cache != tt.cache || tt.cache && usage.Misses != 20 || usage.Gets != 20 {
			t.Errorf("%s: after 20 first reads: %+v", tt.name, usage)
		}
		if err = r.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatAnOpenSubjectHoldsIsWeighed(t *testing.T) {
	server := redistest.Start(t)
	env := peers.Env{Addr: server.Addr(), Direct: server.Addr(), TTL: peers.TTL, CacheBytes: 1 << 30}
	job := Job{Op: load.Hit, Shape: load.TenKeys, Sessions: 64, Workers: 1}
	if err := peers.SeedJSON(env, peers.TTL)(ctx, load.IDs(0, job.Sessions), job.Shape.Data); err != nil {
		t.Fatal(err)
	}
	m, err := weigh(subject(t, "Strata"), Ask{Env: env, Job: job, Duration: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	// For 1 GiB the cache makes ten million counters when it is opened.
	if m.Session*float64(m.Sessions) < 4<<20 || m.Cycle <= 0 || m.Interval <= 0 {
		t.Errorf("a cache of 1 GiB with %d sessions is %+v", m.Sessions, m)
	}
}

func TestLinksAreMadeAndSet(t *testing.T) {
	server := redistest.Start(t)
	w := &worker{}
	answer, err := w.answer(Ask{What: AskLink, Addr: server.Addr(), Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer w.links[answer.Addr].Close()
	if _, err = w.answer(Ask{What: AskDistance, Addr: answer.Addr}); err != nil {
		t.Fatal(err)
	}
	times, err := link.Reached(answer.Addr, 2, time.Millisecond)
	if err != nil || times.N == 0 {
		t.Errorf("%d round trips, %v", times.N, err)
	}
	if _, err = w.answer(Ask{What: AskDistance, Addr: "elsewhere"}); err == nil {
		t.Error("a link that doesn't exist is set")
	}
}

func TestABrowserLoadsPagesOfOneSession(t *testing.T) {
	server := redistest.Start(t)
	ask := Ask{Env: peers.Env{Addr: server.Addr(), Direct: server.Addr(), TTL: peers.TTL, CacheBytes: 1 << 20},
		Job: Job{Op: load.Change, Shape: load.TenKeys, Sessions: 16, Workers: 2 * BrowserConns}, Duration: 20 * time.Millisecond, Turn: 1}
	r, err := open(subject(t, "Strata, write-behind"), ask)
	if err != nil {
		t.Fatal(err)
	}
	if ask.Addr, err = r.serve(); err != nil {
		t.Fatal(err)
	}
	round, err := generate(ask)
	if err != nil || round.Requests < PageLeast {
		t.Fatalf("%d requests, %v", round.Requests, err)
	}
	usage, err := r.usage()
	if err != nil || usage.Elapsed == 0 {
		t.Errorf("the flush took %v, %v", usage.Elapsed, err)
	}
	swept, err := r.sweep()
	if err != nil || swept.Stale != 0 {
		t.Errorf("%d updates are lost, %v", swept.Stale, err)
	}
	// The caller that loses them gets an error.
	if err = peers.SeedJSON(ask.Env, peers.TTL)(ctx, load.IDs(0, 16), load.TenKeys.Data); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for err == nil && time.Now().Before(deadline) { // until the node has received it
		_, err = r.sweep()
	}
	var wrong load.Wrong
	if !errors.As(err, &wrong) {
		t.Errorf("lost updates of Strata answer %v, want a wrong answer", err)
	}
	if err = r.close(); err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Figures are what Redis is asked, without faults.
type Figures struct {
	Reads    float64 // Redis reads a request
	Commands float64 // commands a request as Redis counts them, those inside scripts too
}

// figures measures, in round 0, which has no faults.
func (w *world) figures(report *Report) {
	w.tb.Helper()
	o := w.options
	w.all(Ask{What: askBegin, Round: 0})
	ask := Ask{What: askMeasure, Round: 0, Count: o.Requests}
	w.all(ask) // everybody knows the sessions
	report.Scattered = w.measured(w.nodes, ask, "pttl")
	ask.Sticky = true
	w.all(ask)
	report.Sticky = w.measured(w.nodes, ask, "pttl")
	bare := []*process{w.spawn(0, modeBare)}
	report.Bare = w.measured(bare, Ask{What: askMeasure, Round: 0, Count: o.Requests}, "get")
	if err := bare[0].end(); err != nil {
		w.tb.Fatal(err)
	}
	own := w.each(w.nodes[:1], Ask{What: askOwn, Count: o.Probes, IDs: []string{sessionID(0, 0, 0)}})
	report.OwnReads, report.OwnMisses = o.Probes, int(own[0].Figure)
	w.delays(report)
}

// measured has the nodes serve requests, and returns what Redis counted; each of a
// storage's reads is one command of the given name.
func (w *world) measured(nodes []*process, ask Ask, read string) Figures {
	w.tb.Helper()
	before := w.commands()
	requests := 0.0
	for _, answer := range w.each(nodes, ask) {
		requests += answer.Figure
	}
	after := w.commands()
	var f Figures
	for name, calls := range after {
		calls -= before[name]
		f.Commands += calls / requests
		if name == read {
			f.Reads = calls / requests
		}
	}
	return f
}

// commands is how often the masters were sent, or ran in scripts, what sessions need.
func (w *world) commands() map[string]float64 {
	w.tb.Helper()
	ctx := context.Background()
	calls := map[string]float64{}
	for _, s := range w.servers {
		client := redis.NewClient(&redis.Options{Addr: s.Addr()})
		info, err := client.InfoMap(ctx, "commandstats").Result()
		role, errRole := client.InfoMap(ctx, "replication").Result()
		_ = client.Close()
		if err != nil || errRole != nil {
			w.tb.Fatal(err, errRole)
		}
		if role["Replication"]["role"] != "master" {
			continue
		}
		for _, name := range []string{"get", "getrange", "set", "setex", "psetex", "eval", "evalsha", "pttl", "pexpire", "expire", "del"} {
			calls[name] += float64(count(info["Commandstats"]["cmdstat_"+name]))
		}
	}
	return calls
}

// count reads calls=N from a line of commandstats.
func count(stats string) (n int) {
	text, _ := strings.CutPrefix(stats, "calls=")
	for _, digit := range text {
		if digit < '0' || digit > '9' {
			break
		}
		n = 10*n + int(digit-'0')
	}
	return n
}

// delays measures how long after its acknowledgement a change is still not seen by
// another node that has the session in memory: until the start of the first read that
// shows it.
func (w *world) delays(report *Report) {
	w.tb.Helper()
	if len(w.nodes) < 2 {
		return
	}
	ids := []string{"probe"}
	for version := 1; version <= w.options.Probes; version++ {
		type seen struct {
			answer Answer
			err    error
		}
		follower := w.nodes[1+version%(len(w.nodes)-1)]
		first := make(chan seen, 1)
		if version > 1 {
			// It knows the version before, so that it serves it from memory.
			w.each([]*process{follower}, Ask{What: askFollow, IDs: ids, Count: version - 1})
			wait(time.Millisecond)
		}
		go func() {
			answer, err := follower.ask(Ask{What: askFollow, IDs: ids, Count: version})
			first <- seen{answer, err}
		}()
		written := w.each(w.nodes[:1], Ask{What: askWrite, IDs: ids, Count: version})[0]
		read := <-first
		if read.err != nil {
			w.tb.Fatal(read.err)
		}
		if version > 1 {
			report.Delays.Add(read.answer.Records[0].Start - written.Records[0].End)
		}
	}
}

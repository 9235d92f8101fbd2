package redisstore

import (
	"fmt"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers"
)

func benchSession() map[string]any {
	data := map[string]any{}
	for n := range 10 {
		data[fmt.Sprint("key", n)] = fmt.Sprint("value ", n)
	}
	return data
}

// BenchmarkCodec is what a session costs on its way to and from the bytes on the server.
func BenchmarkCodec(b *testing.B) {
	data := benchSession()
	content, err := encode(data)
	if err != nil {
		b.Fatal(err)
	}
	for what, do := range map[string]func(){
		"encode": func() { _, _ = encode(data) },
		"decode": func() { _, _ = decode(content) },
		"digest": func() { digest(content) },
		"form":   func() { _, _ = tiers.PreviewJSON(data) },
	} {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				do()
			}
		})
	}
}

// BenchmarkRoundTrips is each operation on a real server, those of several sessions for
// 64 of them.
func BenchmarkRoundTrips(b *testing.B) {
	const together = 64
	ctx := b.Context()
	s := New(redistest.Start(b).Client())
	commits, loads := make([]tiers.Commit, together), make([]tiers.Reload, together)
	for n := range commits {
		delta, err := tiers.Add(benchSession())
		if err != nil {
			b.Fatal(err)
		}
		commits[n] = tiers.Commit{ID: fmt.Sprint("session", n), Delta: delta, TTL: time.Hour}
	}
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	for n, c := range s.CommitAll(ctx, commits) {
		check(c.Err)
		loads[n] = tiers.Reload{ID: commits[n].ID, TTL: time.Hour, Known: c.Snapshot}
	}
	change := func(n, value int) *tiers.Delta {
		data := loads[n].Known.Map()
		data["key3"] = fmt.Sprint(value)
		delta, err := tiers.Diff(loads[n].Known, data)
		check(err)
		return delta
	}
	for what, do := range map[string]func(n int){
		"load": func(int) { _, err := s.Load(ctx, "session0", time.Hour); check(err) },
		"commit": func(n int) {
			snapshot, err := s.Commit(ctx, "session0", change(0, n), time.Hour)
			check(err)
			loads[0].Known = snapshot
		},
		"slide": func(int) { _, err := s.Slide(ctx, "session0", time.Hour); check(err) },
		"commit_64": func(n int) {
			for i := range commits {
				commits[i].Delta = change(i, n)
			}
			for i, c := range s.CommitAll(ctx, commits) {
				check(c.Err)
				loads[i].Known = c.Snapshot
			}
		},
		"reload_64": func(int) {
			for _, r := range s.LoadAll(ctx, loads) {
				check(r.Err)
			}
		},
	} {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				do(n)
			}
		})
	}
}

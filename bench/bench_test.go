package main

import (
	"context"
	"strings"
	"testing"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/report"
	"github.com/gf-strata/strata/internal/redistest"
)

// BenchmarkRequest is one request of each subject, for benchstat: run it twice with
// -count 10 and compare. `go run .` compares subjects, with rounds that take turns.
func BenchmarkRequest(b *testing.B) {
	for _, op := range []struct {
		op    load.Op
		shape load.Shape
	}{{load.Read, load.TenKeys}, {load.Change, load.TenKeys}, {load.Login, load.TenKeys}, {load.Hit, load.TenKeys},
		{load.Read, load.TwoKiB}, {load.Read, load.Large}, {load.Cart, load.Nested}} {
		name := "op=" + string(op.op) + "/session=" + strings.ReplaceAll(string(op.shape), " ", "")
		b.Run(name, func(b *testing.B) {
			for _, s := range peers.All() {
				if takes := s.Name != report.Again && (op.op != load.Hit && !s.Floor || op.op == load.Hit && (isSnapshot(s) && !s.Floor || s.Name == report.Clone)); takes {
					b.Run("subject="+strings.ReplaceAll(s.Name, " ", ""), func(b *testing.B) { benchmark(b, s, op.op, op.shape) })
				}
			}
		})
	}
}

func benchmark(b *testing.B, s peers.Subject, op load.Op, shape load.Shape) {
	ctx := context.Background()
	env := peers.Env{Dir: b.TempDir(), TTL: peers.TTL, CacheTTL: cacheTTL, CacheBytes: cacheBytes, CacheEntries: cacheEntries}
	if s.Redis {
		env.Addr = redistest.Start(b).Addr()
		env.Direct = env.Addr
	}
	node, err := s.Open(env)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = node.Close() }()
	ids := load.IDs(1, 1)
	if err = node.Seed(ctx, ids, shape.Data); err != nil {
		b.Fatal(err)
	}
	l := load.New(s, node, shape, ids)
	for turn := range 100 {
		if err = l.Do(ctx, op, 0, turn); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for turn := 0; b.Loop(); turn++ {
		if err = l.Do(ctx, op, 0, turn); err != nil {
			b.Fatal(err)
		}
	}
	if err = node.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	if s.Strata && l.Stale.Load() > 0 {
		b.Errorf("%d results are older than a write that had returned", l.Stale.Load())
	}
}

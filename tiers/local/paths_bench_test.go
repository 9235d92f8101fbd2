package local_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// BenchmarkLoad measures each way in which a read is served, on a store that takes no time;
// BenchmarkLoadHit is the one that matters.
func BenchmarkLoad(b *testing.B) {
	const sessions = 50_000 // more than are hot
	for name, c := range map[string]struct {
		opts []local.Option
		ids  int
	}{
		"packed":   {nil, sessions},
		"negative": {nil, 1},
		"audited":  {[]local.Option{local.Audited(0.001)}, 1},
		"miss":     {[]local.Option{local.MaxStale(0)}, 1},
	} {
		b.Run(name, func(b *testing.B) {
			s, from := teststore.New(), &source{}
			opts := append(c.opts, local.Invalidation(from))
			if name == "miss" {
				opts = c.opts
			}
			l := local.New(s, opts...)
			defer l.Close(ctx)
			if from.receiver() != nil {
				from.confirm(time.Hour)
			}
			ids := make([]string, c.ids)
			for n := range ids {
				ids[n] = fmt.Sprint("session", n)
				if name != "negative" {
					s.Put(ids[n], tenKeys(), time.Hour)
				}
				l.Load(ctx, ids[n], time.Hour)
			}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if _, err := l.Load(ctx, ids[n%len(ids)], time.Hour); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCommit measures the tier's part of a write, with the read that follows its invalidation.
func BenchmarkCommit(b *testing.B) {
	for name, notified := range map[string]bool{"quiet": false, "notified": true} {
		b.Run(name, func(b *testing.B) {
			s, from := teststore.New(), &source{}
			l := local.New(s, local.Invalidation(from))
			defer l.Close(ctx)
			from.confirm(time.Hour)
			s.Put("a", tenKeys(), time.Hour)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				read, err := l.Load(ctx, "a", time.Hour)
				if err != nil {
					b.Fatal(err)
				}
				data := read.Snapshot.Map()
				data["key3"] = n
				delta, err := tiers.Diff(read.Snapshot, data)
				if err == nil {
					_, err = l.Commit(ctx, "a", delta, time.Hour)
				}
				if err != nil {
					b.Fatal(err)
				}
				if notified {
					from.receiver().Invalidate("a")
				}
			}
		})
	}
}

// BenchmarkSlide is that of a request that has changed nothing; it is skipped.
func BenchmarkSlide(b *testing.B) {
	s := teststore.New()
	l := local.New(s, local.Exclusive())
	defer l.Close(ctx)
	s.Put("a", tenKeys(), time.Hour+time.Minute)
	l.Load(ctx, "a", time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.UpdateTTL(ctx, "a", time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

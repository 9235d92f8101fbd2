package coalesce_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

// BenchmarkCommit is a change of one of ten keys, of 64 sessions by turns, on a store that
// takes no time.
func BenchmarkCommit(b *testing.B) {
	for name, opts := range map[string][]coalesce.Option{
		"synchronous": nil, "behind": {writeBehind(100 * time.Millisecond)},
	} {
		b.Run(name, func(b *testing.B) {
			s := coalesce.New(teststore.New(), opts...)
			defer func() { _ = s.Close(context.Background()) }()
			bases := fillSessions(b, s)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				base := bases[n%len(bases)]
				data := base.Map()
				data["key3"] = fmt.Sprint(n)
				delta, err := tiers.Diff(base, data)
				if err == nil {
					_, err = s.Commit(context.Background(), sessionOf(n%len(bases)), delta, time.Hour)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLoad is a read with nothing that waits, and one that is laid over.
func BenchmarkLoad(b *testing.B) {
	for name, pending := range map[string]bool{"nothing_waits": false, "over_pending": true} {
		b.Run(name, func(b *testing.B) {
			s := coalesce.New(teststore.New(), writeBehind(time.Hour))
			defer func() { _ = s.Close(context.Background()) }()
			bases := fillSessions(b, s)
			if pending {
				delta, err := tiers.Diff(bases[0], map[string]any{"key3": "another"})
				if err == nil {
					_, err = s.Commit(context.Background(), sessionOf(0), delta, time.Hour)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if read, err := s.Load(context.Background(), sessionOf(0), time.Hour); err != nil || read.Snapshot == nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSlide is one that is skipped, as nearly all are.
func BenchmarkSlide(b *testing.B) {
	s := coalesce.New(teststore.New())
	defer func() { _ = s.Close(context.Background()) }()
	fillSessions(b, s)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Slide(context.Background(), sessionOf(0), time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

func sessionOf(n int) string { return fmt.Sprint("session", n) }

func fillSessions(b *testing.B, s *coalesce.Storage) (bases []*tiers.Snapshot) {
	for n := range 64 {
		data := map[string]any{}
		for k := range 10 {
			data[fmt.Sprint("key", k)] = fmt.Sprint("value ", k)
		}
		delta, err := tiers.Add(data)
		if err == nil {
			_, err = s.Commit(context.Background(), sessionOf(n), delta, time.Hour)
		}
		if err == nil {
			err = s.Flush(context.Background())
		}
		read, failed := s.Load(context.Background(), sessionOf(n), time.Hour)
		if err != nil || failed != nil {
			b.Fatal(err, failed)
		}
		bases = append(bases, read.Snapshot)
	}
	return bases
}

package tiers

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/container/gvar"
)

// heap is the memory in use after a full collection.
func heap() uint64 {
	var stats runtime.MemStats
	for range 2 { // the second frees what the first found to have cleanups
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// fresh is a string that shares its bytes with no other.
func fresh(n int, length int) string {
	return strings.Clone(fmt.Sprintf("%0*d", length, n))
}

func TestSizeIsAboutRight(t *testing.T) {
	const copies = 2000
	shapes := map[string]func(n int) values{
		"one short key": func(n int) values { return values{fresh(n, 6): fresh(n, 12)} },
		"ten short keys": func(n int) values {
			data := values{}
			for key := range 10 {
				data[fresh(key, 6)] = fresh(n, 12)
			}
			return data
		},
		"thirty keys": func(n int) values {
			data := values{}
			for key := range 30 {
				data[fresh(key, 8)] = n + 1000
			}
			return data
		},
		"2 KiB": func(n int) values { return values{fresh(n, 8): fresh(n, 2048)} },
		"nested": func(n int) values {
			items := make([]any, 0, 8)
			for item := range 8 {
				items = append(items, values{fresh(1, 5): fresh(item, 10), fresh(2, 5): json.Number(fresh(n, 6))})
			}
			return values{"cart": values{"items": items, "at": time.Now()}, "user": n + 1000}
		},
		"typed": func(n int) values {
			numbers := map[int]int{}
			for key := range 100 {
				numbers[key] = n
			}
			return values{"numbers": numbers, "array": [200]int{n}, "strings": []string{fresh(n, 30), fresh(n, 40)}, "bytes": []byte(fresh(n, 500))}
		},
		"structs": func(n int) values {
			chain := &account{Name: fresh(n, 20)}
			for range 5 {
				chain = &account{Name: fresh(n, 20), Tags: []string{fresh(n, 10)}, Next: chain}
			}
			return values{"chain": chain, "points": []point{{n, n}, {1, 2}, {3, 4}}}
		},
		"gmap": func(n int) values {
			data := values{}
			for key := range 20 {
				data[fresh(key, 8)] = fresh(n, 20)
			}
			return values{"map": gmap.NewStrAnyMapFrom(data, true), "var": gvar.New([]byte(fresh(n, 300)))}
		},
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			kept := make([]*Snapshot, copies)
			before := heap()
			for n := range kept {
				kept[n] = Adopt(shape(n))
			}
			used := heap() - before
			said := uint64(0)
			for _, s := range kept {
				said += uint64(s.Size())
			}
			if ratio := float64(said) / float64(used); ratio < 0.6 || ratio > 1.6 {
				t.Errorf("Size says %d bytes a snapshot, %d in use: a factor of %.2f", said/copies, used/copies, ratio)
			}
			runtime.KeepAlive(kept)
		})
	}
}

// guarded locks what it holds, so that nobody else may look.
type guarded struct {
	Name  string
	mu    *sync.Mutex
	inner map[string]int
}

func TestSizeReadsNothingThatAnotherLockGuards(t *testing.T) {
	g := guarded{Name: "g", mu: &sync.Mutex{}, inner: map[string]int{}}
	data := values{"g": g, "behind a pointer": &g, "in a slice": []guarded{g}}
	base := Adopt(values{"g": g})
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := range 1000 {
			g.mu.Lock()
			g.inner[fmt.Sprint(n)] = n
			g.mu.Unlock()
		}
	})
	for range 100 {
		s, err := NewSnapshot(data)
		if err != nil {
			t.Fatal(err)
		}
		s.Map()
	}
	writing.Wait()
	if d, err := Diff(base, values{"g": g}); err != nil || !d.Empty() {
		t.Errorf("Diff = %+v, %v", d, err)
	}
}

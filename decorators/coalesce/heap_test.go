package coalesce_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Waiting changes take as much of the heap as is counted, and as the bound allows: those that
// were accepted, and those whose callers have left.
func TestPendingIsWhatTheHeapHas(t *testing.T) {
	const sessions, bound = 20_000, 16 << 20
	for name, opts := range map[string][]coalesce.Option{
		"callers that left": nil, "behind": {writeBehind(time.Hour)},
	} {
		for size, value := range map[string]string{"small": "x", "large": strings.Repeat("x", 2000)} {
			t.Run(name+" "+size, func(t *testing.T) {
				s, release := &batching{Store: teststore.New()}, make(chan struct{})
				s.Refuse(func(string) error { <-release; return errors.New("away") })
				c := coalesce.New(s, append(opts, maxPendingBytes(bound), writeTimeout(time.Minute))...)
				before := heap()
				gone, cancel := context.WithCancel(ctx)
				cancel()
				for n := range sessions {
					if _, bytes, _ := c.Pending(); bytes > bound*9/10 {
						break
					}
					base := tiers.Adopt(map[string]any{"user": fmt.Sprint("user ", n)})
					if _, err := c.Commit(gone, fmt.Sprintf("session-%020d", n), change(t, base, "k", value+fmt.Sprint(n)), ttl); err != nil && !errors.Is(err, failure.ErrUnderWay) {
						t.Fatal(err)
					}
				}
				changes, bytes, _ := c.Pending()
				grown := heap() - before
				t.Logf("%d changes are counted as %d bytes and take %d: %.2f", changes, bytes, grown, float64(grown)/float64(bytes))
				if grown > bytes*3/2 || bytes > bound || changes < 1000 {
					t.Errorf("%d changes are counted as %d bytes and take %d, and the bound is %d", changes, bytes, grown, bound)
				}
				close(release)
				short, cancel := context.WithTimeout(ctx, time.Millisecond)
				defer cancel()
				_ = c.Close(short)
			})
		}
	}
}

package redisstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/push"

	"github.com/gf-strata/strata/tiers"
)

// RetryAfter is how soon a server that can't announce changes is asked again.
func RetryAfter(d time.Duration) WatchOption { return func(w *Watcher) { w.rarely = d } }

func TestReadNodes(t *testing.T) {
	const (
		one = "id1 127.0.0.1:1@2 myself,master - 0 0 7 connected 0-5 9\n"
		two = "id2 127.0.0.1:3@4,host master - 0 0 8 connected 6-8"
		etc = "id3 127.0.0.1:5@6 slave id1 0 0 7 connected\nid4 :0@0 master,fail - 0 0 0 disconnected\nrubbish\n"
	)
	self, masters, view := readNodes(etc + one + two)
	slices.Sort(masters)
	if self != "id1" || !slices.Equal(masters, []string{"id1", "id2"}) {
		t.Errorf("it is %s's, of the masters %q", self, masters)
	}
	for text, same := range map[string]bool{
		two + "\n" + one: true, // another order, and no others
		two + " [7->-id1]\n" + strings.Replace(one, "myself,", "", 1): true, // a slot on its way, another's view
		strings.Replace(one, " 7 ", " 9 ", 1) + two:                   false,
		strings.Replace(one, " 9\n", "\n", 1) + two + " 9":            false,
		strings.Replace(one, "master", "slave", 1) + two:              false,
		strings.Replace(one, "id1", "id9", 1) + two:                   false,
	} {
		if _, _, other := readNodes(text); (other == view) != same {
			t.Errorf("%q is the same: %v", text, !same)
		}
	}
}

// deaf does what a cache's listener does at least: it takes the id.
type deaf struct{ tiers.Listener }

var heard int

func (deaf) Changed(id string)   { heard += len(id) }
func (deaf) Missed()             { heard++ }
func (deaf) Unsupported(error)   {}
func (deaf) Vouched(_ time.Time) {}

// BenchmarkAnnouncement is what the watcher adds to go-redis' reading of one.
func BenchmarkAnnouncement(b *testing.B) {
	for _, keys := range []int{1, 16} {
		b.Run(fmt.Sprint(keys, "-keys"), func(b *testing.B) {
			w := &Watcher{prefix: "gsession:"}
			w.Watch(deaf{})
			r := &round{Watcher: w, stands: time.Now()}
			c := newChannel(r, 0, nil)
			var list []any
			for n := range keys {
				list = append(list, fmt.Sprintf("gsession:%032d", n))
			}
			message := []any{"invalidate", list}
			b.ReportAllocs()
			for b.Loop() {
				_ = c.HandlePushNotification(b.Context(), push.NotificationHandlerContext{}, message)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(keys), "ns/announcement")
		})
	}
}

package tracking

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/push"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers"
)

// SlotOf is slotOf.
var SlotOf = slotOf

// Ask is what the sentinels of a client name.
func Ask(client *redis.Client) (string, error) {
	return (&single{options: client.Options()}).ask(context.Background())
}

// Option sets up a Tracker of a test.
type Option func(*Tracker)

// Lease is that of New.
func Lease(d time.Duration) Option {
	return func(t *Tracker) { t.lease, t.pace = d, min(t.pace, d/4) }
}

// RetryAfter is how soon an unsupported server is asked again.
func RetryAfter(d time.Duration) Option { return func(t *Tracker) { t.retry = d } }

// ProofLife is how often a canary is written.
func ProofLife(d time.Duration) Option { return func(t *Tracker) { t.proofLife = d } }

// Trial is how long a server that takes the password is tried.
func Trial(d time.Duration) Option { return func(t *Tracker) { t.trial = d } }

// Start is New with options. The server is asked often, and has a lease that a busy machine keeps.
func Start(client redis.UniversalClient, prefix string, opts ...Option) *Tracker {
	t := New(client, prefix, 3*time.Second)
	t.pace = 50 * time.Millisecond
	for _, opt := range opts {
		opt(t)
	}
	return t
}

// Where nothing changes a server gets one new connection in ten seconds at most.
func TestPaces(t *testing.T) {
	if lastPause-lastPause/6 < 10*time.Second || proofLife < 10*time.Second || unsupportedRetry < 20*time.Second {
		t.Error("more than one new connection in ten seconds")
	}
}

// refusal is a server's reply.
type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

// A server that takes no connection for now is found within about a second of the time when it does.
func TestPausesWhileAServerIsAway(t *testing.T) {
	for name, test := range map[string]struct {
		reached int
		err     error
		most    time.Duration
	}{
		"nothing listens":                {0, syscall.ECONNREFUSED, awayPause},
		"hung up, with too many clients": {connected, syscall.EPIPE, awayPause},
		"refused, with too many clients": {connected, refusal("ERR max number of clients reached"), awayPause},
		"starts, before it takes HELLO":  {connected, refusal("LOADING Redis is loading the dataset in memory"), awayPause},
		"starts, after that":             {greeted, refusal("LOADING Redis is loading the dataset in memory"), awayPause},
		"another password":               {connected, refusal("WRONGPASS invalid username-password pair"), lastPause},
		"hangs up at CLIENT TRACKING":    {greeted, io.EOF, lastPause},
		"sends no invalidation":          {confirmed, errDeaf, 2 * lastPause},
	} {
		if most := mostPause(test.reached, test.err); most != test.most {
			t.Errorf("%s: pauses up to %v, want %v", name, most, test.most)
		}
	}
}

func TestReadNodes(t *testing.T) {
	const (
		one = "id1 127.0.0.1:1@2 myself,master - 0 0 7 connected 0-5 9\n"
		two = "id2 127.0.0.1:3@4,host master - 0 0 8 connected 6-8"
		etc = "id3 127.0.0.1:5@6 slave id1 0 0 7 connected\nid4 :0@0 master,fail - 0 0 0 disconnected\nrubbish\n" +
			"id5 ::1:7@8,a.b,shard-id=x master - 0 0 0 connected\nid6 1.2.3.4:9@10 master,fail? - 0 0 0 connected\nid7 :0@0 master,noaddr - 0 0 0 connected\n"
	)
	n := readNodes(etc + one + two)
	if n.self != "id1" || !n.master || !slices.Equal(n.owners, []string{"id1", "id2"}) || n.targets != nil {
		t.Errorf("read %+v", n)
	}
	if len(n.empty) != 1 || n.empty[0].id != "id5" || n.empty[0].port != "7" || !slices.Equal(n.empty[0].hosts, []string{"::1", "a.b"}) {
		t.Errorf("without slots are %+v", n.empty)
	}
	for text, same := range map[string]bool{
		two + "\n" + one: true, // another order, and no others
		two + " [7->-id1]\n" + strings.Replace(one, "myself,", "", 1): true, // a slot on its way, another's view
		strings.Replace(one, " 7 ", " 9 ", 1) + two:                   false,
		strings.Replace(one, " 9\n", "\n", 1) + two + " 9":            false,
		strings.Replace(one, "master", "slave", 1) + two:              false,
		strings.Replace(one, "id1", "id9", 1) + two:                   false,
	} {
		if (readNodes(text).slots == n.slots) != same {
			t.Errorf("%q is the same: %v", text, !same)
		}
	}
	n = readNodes(strings.Replace(one, " 9\n", " 9 [5->-id5] [8-<-id2]\n", 1) + two)
	if !slices.Equal(n.targets, []string{"id5"}) {
		t.Errorf("slots are on their way to %q", n.targets)
	}
}

// deaf does what a cache's listener does at least: it takes the id.
type deaf struct{ tiers.InvalidationListener }

var received int

func (deaf) Invalidate(id string)   { received += len(id) }
func (deaf) InvalidateAll()         { received++ }
func (deaf) Unsupported(error)      {}
func (deaf) ValidUntil(_ time.Time) {}

// BenchmarkInvalidation is what the watcher adds to go-redis' reading of one.
func BenchmarkInvalidation(b *testing.B) {
	for _, keys := range []int{1, 16} {
		b.Run(fmt.Sprint(keys, "-keys"), func(b *testing.B) {
			w := &watcher{settings: settings{prefix: "gsession:"}}
			w.subscribe(deaf{})
			r := &watchSession{watcher: w, stands: time.Now()}
			c := newConnection(r, 0, nil)
			var list []any
			for n := range keys {
				list = append(list, fmt.Sprintf("gsession:%032d", n))
			}
			message := []any{"invalidate", list}
			b.ReportAllocs()
			for b.Loop() {
				_ = c.HandlePushNotification(b.Context(), push.NotificationHandlerContext{}, message)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(keys), "ns/invalidation")
		})
	}
}

// A client that sends no command again doesn't on a path either.
func TestAPathRetriesAsOftenAsTheClient(t *testing.T) {
	for retries, want := range map[int]int32{-1: 1, 2: 3} {
		var gets atomic.Int32
		addr := redistest.StartFake(t, func(command []string) string {
			if command[0] != "get" {
				return redistest.Redis6(command)
			}
			gets.Add(1)
			return "" // it hangs up
		})
		client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: retries, MinRetryBackoff: -1, MaxRetryBackoff: -1})
		p := newPath(client, nil)
		ctx := context.Background()
		err := p.send(ctx, []redis.Cmder{redis.NewCmd(ctx, "get", "k")})
		if got := gets.Load(); err == nil || got != want {
			t.Errorf("with %d retries the command is sent %d times, and ends in %v", retries, got, err)
		}
		_, _ = p.own.Close(), client.Close()
	}
}

// panicking is a hook.
type panicking struct{ redis.Hook }

func (panicking) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { panic("a hook's") }
}
func (panicking) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (panicking) DialHook(next redis.DialHook) redis.DialHook          { return next }

// A path that a hook has panicked on isn't in use any more, so that it is closed once it is left.
func TestAPanicOfAHookGivesThePathBack(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	defer func() { _ = client.Close() }()
	client.AddHook(panicking{})
	tracker := New(client, "p:", time.Second)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the caller gets no panic")
			}
		}()
		_ = tracker.Send(context.Background(), redis.NewStatusCmd(context.Background(), "ping"))
	}()
	if uses := tracker.paths.Load().now.uses; uses != 1 { // as the present path
		t.Errorf("%d uses are left", uses)
	}
}

// A master without slots takes no key, and none is looked for: each look at the topology would cost 10 ms of CPU time.
func TestNoKeyIsLookedForWithoutSlots(t *testing.T) {
	var c cluster
	m := &member{}
	if tries := testing.AllocsPerRun(100, func() { // others of the process may allocate a few times
		if key := c.key(m, "a"); key != "" {
			t.Errorf("a server without slots takes %q", key)
		}
	}); tries > 0 {
		t.Errorf("%v keys were tried", tries)
	}
	m.nodes.own([]string{"0-8191"})
	if key := c.key(m, "a"); key == "" {
		t.Error("a server with half of the slots takes no key")
	}
}

// A cluster's node that hangs is asked again and again, however an attempt ends.
func TestANodeThatHangsIsAskedAgain(t *testing.T) {
	var asked atomic.Int64
	addr := redistest.StartFake(t, func([]string) string { asked.Add(1); return redistest.Silence })
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addr}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	r := newReloader(client)
	r.wait = time.Millisecond
	var all sync.WaitGroup
	all.Go(r.reload)
	poll.Until(t, "ten questions", func() bool { return asked.Load() >= 10 })
	if err := r.close(context.Background()); err != nil {
		t.Error(err)
	}
	all.Wait()
}

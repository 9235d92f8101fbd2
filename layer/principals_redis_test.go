package layer_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// fleet are nodes on one server.
type fleet struct {
	server *redistest.Server
	prefix string
	chains []*layer.Stack
	users  []*layer.Users
	client redis.UniversalClient
}

// newFleet makes nodes that receive invalidations.
func newFleet(t *testing.T, nodes int, opts ...layer.IndexedOption) *fleet {
	t.Helper()
	return fleetOf(t, nodes, func() []layer.Decorator {
		return []layer.Decorator{patientCoalesced(), patientLocal(), layer.Indexed(userOf, opts...), layer.Traced()}
	})
}

func fleetOf(t *testing.T, nodes int, decorators func() []layer.Decorator) *fleet {
	t.Helper()
	f := &fleet{server: redistest.Start(t), prefix: "p:"}
	f.client = client(t, f.server)
	for range nodes {
		f.join(t, decorators()...)
	}
	return f
}

func (f *fleet) join(t *testing.T, decorators ...layer.Decorator) *layer.Stack {
	t.Helper()
	return f.joinBy(t, client(t, f.server), decorators...)
}

func (f *fleet) joinBy(t *testing.T, client redis.UniversalClient, decorators ...layer.Decorator) *layer.Stack {
	t.Helper()
	store := redisstore.New(client, redisstore.Prefix(f.prefix))
	chain := layer.Chain(store, decorators...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(chain.Close(ctx), store.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	f.chains = append(f.chains, chain)
	f.users = append(f.users, layer.Principals(chain))
	return chain
}

func (f *fleet) device(node int, id string) device { return device{f.chains[node], id} }

func TestSessionsAreListedAndEndedOnAllNodes(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 2)
	for n := range 5 {
		f.device(n%2, fmt.Sprintf("session-%d-0123456789", n)).logIn(t, "alice")
	}
	f.device(0, "bob-0123456789").logIn(t, "bob")
	for node := range 2 {
		list, _, err := f.users[node].List(ctx, "alice", "")
		if err != nil || len(list) != 5 {
			t.Fatalf("node %d lists %d sessions, %v", node, len(list), err)
		}
		for _, s := range list {
			if time.Since(s.Begun) > time.Minute || time.Since(s.Seen) > time.Minute || time.Since(s.Seen) < -time.Second {
				t.Errorf("begun %v, seen %v", s.Begun, s.Seen)
			}
		}
	}
	page, next, err := f.users[1].All(ctx, "")
	if err != nil || next != "" || len(page) != 2 {
		t.Errorf("the page is %v, %q, %v", page, next, err)
	}
	for _, p := range page {
		if p.Sessions != map[string]int{"alice": 5, "bob": 1}[p.Principal] {
			t.Errorf("%v", p)
		}
	}
	if n, err := f.users[0].Count(ctx); n != 2 || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
	keep, err := f.users[0].Handle(ctx, "session-3-0123456789")
	if err != nil || keep == "" {
		t.Fatal(keep, err)
	}
	ended, err := f.users[0].RevokeAll(ctx, "alice", layer.ReasonPasswordChanged, keep)
	if ended != 4 || err != nil {
		t.Errorf("%d ended, %v", ended, err)
	}
	for n := range 5 {
		id := fmt.Sprintf("session-%d-0123456789", n)
		want := map[int]string{3: "alice"}[n]
		if got := f.device(0, id).user(t); got != want {
			t.Errorf("on the node itself session %d is %q's", n, got)
		}
		poll.Until(t, "the other node", func() bool { return f.device(1, id).user(t) == want })
	}
	if f.device(1, "bob-0123456789").user(t) != "bob" {
		t.Error("bob is out")
	}
	if reason, err := f.users[1].Reason(ctx, "session-1-0123456789"); reason != layer.ReasonPasswordChanged || err != nil {
		t.Errorf("the reason is %q, %v", reason, err)
	}
	if list, _, err := f.users[1].List(ctx, "alice", ""); len(list) != 1 || err != nil {
		t.Errorf("%v are left, %v", list, err)
	}
	if err := f.users[1].Revoke(ctx, keep, layer.ReasonEndedByAdmin); err != nil {
		t.Error(err)
	}
	if f.device(1, "session-3-0123456789").user(t) != "" {
		t.Error("the session that was kept isn't ended")
	}
}

// A session that the index has lost is over by the mark, on all nodes, without a word of its own.
func TestASessionThatTheIndexHasLostIsEnded(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 2)
	lost := "lost-0123456789"
	f.device(0, lost).logIn(t, "alice")
	if f.device(1, lost).user(t) != "alice" {
		t.Fatal("not logged in")
	}
	if err := errors.Join(f.chains[0].Flush(ctx), f.chains[1].Flush(ctx)); err != nil { // an entry that is on its way would come after they are lost
		t.Fatal(err)
	}
	keys, err := f.client.Keys(ctx, f.prefix+"strata:{*}:i:*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	running := f.device(1, lost).open()
	running.MustSet("late", true)
	if err := f.client.Del(ctx, keys...).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := f.users[0].RevokeAll(ctx, "alice", layer.ReasonEndedByAdmin); n != 0 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	if f.device(0, lost).user(t) != "" {
		t.Error("it lives on the node that ended it")
	}
	poll.Until(t, "the other node", func() bool { return f.device(1, lost).user(t) == "" })
	if err := running.Close(); !errors.Is(err, layer.ErrRevoked) || layer.ReasonOf(err) != layer.ReasonEndedByAdmin {
		t.Errorf("a running request returned %v, reason %q", err, layer.ReasonOf(err))
	}
	if content := f.client.Get(ctx, f.prefix+lost).Val(); content != "" && content != "{}" {
		t.Error("it is in the store")
	}
	poll.Until(t, "the store forgets it", func() bool { return f.client.Exists(ctx, f.prefix+lost).Val() == 0 })
}

// A session that is pending at a node that writes behind keeps its entry when others list, count
// against a limit or end what they find, and is over once it was ended by its handle.
func TestASessionThatIsPendingElsewhereIsEnded(t *testing.T) {
	ctx := context.Background()
	for _, lost := range []bool{false, true} {
		f := newFleet(t, 1)
		pendingID := "pending-0123456789"
		var full atomic.Bool // for the session, which waits then
		full.Store(true)
		addr := redistest.StartRelay(t, f.server.Addr(), func(command []string) string {
			if full.Load() && len(command) > 1 && command[0] == "set" && command[1] == f.prefix+pendingID {
				return "-OOM command not allowed when used memory > 'maxmemory'.\r\n"
			}
			return ""
		})
		far := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = far.Close() })
		f.joinBy(t, far, patientCoalesced(layer.WriteBehind(time.Second)), patientLocal(), layer.Indexed(userOf, layer.Limit(3, layer.EndOldest)), layer.Traced())
		pending := f.device(1, pendingID)
		pending.logIn(t, "alice")
		entries := func() []string {
			t.Helper()
			keys, err := f.client.Keys(ctx, f.prefix+"strata:{*}:i:*").Result()
			if err != nil {
				t.Fatal(err)
			}
			return keys
		}
		if list, _, err := f.users[0].List(ctx, "alice", ""); len(list) != 0 || err != nil {
			t.Errorf("another node lists %v, %v", list, err)
		}
		if keys := entries(); len(keys) != 1 {
			t.Fatalf("%d principals have entries after the list", len(keys))
		}
		handle, err := f.users[1].Handle(ctx, pending.id)
		if err != nil || handle == "" {
			t.Fatal(handle, err)
		}
		if lost {
			if err := f.client.Del(ctx, entries()...).Err(); err != nil {
				t.Fatal(err)
			}
		}
		full.Store(false)
		if err := f.users[0].Revoke(ctx, handle, layer.ReasonEndedByAdmin); err != nil {
			t.Fatal(err)
		}
		if err := f.chains[1].Flush(ctx); err != nil && !errors.Is(err, layer.ErrRevoked) {
			t.Fatal(err)
		}
		for node := range 2 {
			poll.Until(t, "the end on all nodes", func() bool { return f.device(node, pending.id).user(t) == "" })
		}
	}
}

// However many log in at once, on however many nodes, there are never more than the limit.
func TestTheLimitHoldsWhereManyLogInAtOnce(t *testing.T) {
	for name, at := range map[string]struct {
		opt     layer.IndexedOption
		refused bool
	}{
		"EndOldest": {opt: layer.Limit(3, layer.EndOldest)},
		"RefuseNew": {opt: layer.Limit(3, layer.RefuseNew), refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			f := newFleet(t, 10, at.opt)
			var (
				all     sync.WaitGroup
				mu      sync.Mutex
				refused int
			)
			for n := range 100 {
				all.Add(1)
				go func() {
					defer all.Done()
					err := f.device(n%10, fmt.Sprintf("racing-%d-0123456789", n)).set("user", "alice")
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
					case errors.Is(err, layer.ErrLimit) && at.refused, errors.Is(err, layer.ErrRevoked):
						refused++
					default:
						t.Error(err)
					}
				}()
			}
			all.Wait()
			for node := range f.chains {
				poll.Until(t, "the limit", func() bool {
					left := 0
					for n := range 100 {
						if f.device(node, fmt.Sprintf("racing-%d-0123456789", n)).user(t) != "" {
							left++
						}
					}
					if at.refused && left > 3 {
						t.Fatalf("%d sessions", left)
					}
					return left == 3
				})
			}
			if list, _, err := f.users[0].List(ctx, "alice", ""); len(list) != 3 || err != nil {
				t.Errorf("%d are listed, %v", len(list), err)
			}
			if at.refused && refused != 97 {
				t.Errorf("%d are refused", refused)
			}
		})
	}
}

// counted counts the commands that a client sends for its callers, without those of the watcher.
type counted struct {
	mu       sync.Mutex
	commands []string // "|" before each round trip
}

func (c *counted) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counted) note(cmds ...redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, cmd := range cmds {
		name := cmd.Name()
		switch name {
		case "client", "ping", "hello", "subscribe":
			return
		}
		if args := cmd.Args(); len(args) > 1 && strings.Contains(fmt.Sprint(args[1]), "strata-canary") {
			return
		}
		if n == 0 {
			c.commands = append(c.commands, "|")
		}
		c.commands = append(c.commands, name)
	}
}

func (c *counted) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.note(cmd)
		return next(ctx, cmd)
	}
}

func (c *counted) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.note(cmds...)
		return next(ctx, cmds)
	}
}

// during returns the commands that f has had sent, and how many round trips they took that begin
// with something else than a read: memory reads in the background.
func (c *counted) during(f func()) (commands []string, trips int) {
	c.mu.Lock()
	c.commands = nil
	c.mu.Unlock()
	f()
	c.mu.Lock()
	defer c.mu.Unlock()
	begins := false
	for _, name := range c.commands {
		if name == "|" {
			begins = true
			continue
		}
		if begins && !slices.Contains([]string{"pttl", "get", "hgetall"}, name) {
			trips++
		}
		begins = false
		commands = append(commands, name)
	}
	return commands, trips
}

// countedChain is a chain whose commands are counted.
func countedChain(t testing.TB, server *redistest.Server, prefix string, decorators ...layer.Decorator) (*layer.Stack, *counted) {
	t.Helper()
	count := &counted{}
	c := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	c.AddHook(count)
	store := redisstore.New(c, redisstore.Prefix(prefix))
	chain := layer.Chain(store, decorators...)
	t.Cleanup(func() {
		if err := errors.Join(chain.Close(context.Background()), store.Close(context.Background()), c.Close()); err != nil {
			t.Error(err)
		}
	})
	return chain, count
}

// A request that reads sends what it would without Indexed, and one that logs in takes one round trip more.
func TestIndexedCostsNoMoreThanStated(t *testing.T) {
	server := redistest.Start(t)
	for name, decorators := range map[string][]layer.Decorator{
		"alone":          {},
		"Local":          {patientLocal()},
		"all":            {patientCoalesced(), patientLocal()},
		"without memory": {patientCoalesced()},
	} {
		t.Run(name, func(t *testing.T) {
			bare, bareCount := countedChain(t, server, name+"-bare:", decorators...)
			indexed, count := countedChain(t, server, name+"-indexed:", append(slices.Clone(decorators), layer.Indexed(userOf))...)
			device{bare, "warm-0123456789"}.logIn(t, "alice")
			device{indexed, "warm-0123456789"}.logIn(t, "alice")
			poll.Until(t, "invalidations", func() bool { // the marks are in memory by then
				commands, _ := count.during(func() { _ = device{indexed, "warm-0123456789"}.user(t) })
				return !slices.Contains(commands, "hgetall")
			})
			logIn := func(chain *layer.Stack, count *counted) int {
				least := math.MaxInt
				for range 20 { // reads in the background come in between
					_, trips := count.during(func() { device{chain, gsession.NewSessionId()}.logIn(t, "alice") })
					least = min(least, trips)
				}
				return least
			}
			with, without := 0, 0
			if !poll.Try(func() bool { // the marks may not be in memory for a while
				with, without = logIn(indexed, count), logIn(bare, bareCount)
				return with <= without+1
			}) {
				t.Errorf("a log-in takes %d round trips, without Indexed %d", with, without)
			}
			read := func(chain *layer.Stack, count *counted) int {
				commands, _ := count.during(func() {
					for range 50 {
						s := device{chain, "warm-0123456789"}.open()
						s.MustGet("user")
						if err := s.Close(); err != nil {
							t.Error(err)
						}
					}
				})
				return len(commands)
			}
			most, few := 0, 0
			if !poll.Try(func() bool { // memory may have to read in between
				most, few = read(indexed, count), read(bare, bareCount)
				return most <= few
			}) {
				t.Errorf("50 reads send %d commands, without Indexed %d", most, few)
			}
		})
	}
}

// All of a principal's 100 sessions are ended in few round trips: two for a mark, then the entries, a look at each, the reason,
// the removal, and two to remove the entries.
func TestAHundredSessionsAreEndedInFewRoundTrips(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	chain, count := countedChain(t, server, "p:", patientCoalesced(), patientLocal(), layer.Indexed(userOf))
	var commands []string
	trips := 0
	if !poll.Try(func() bool { // what the layers send in the background may come in between
		for n := range 100 {
			device{chain, fmt.Sprintf("many-%d-0123456789", n)}.logIn(t, "alice")
		}
		var (
			ended int
			err   error
		)
		commands, trips = count.during(func() {
			ended, err = layer.Principals(chain).RevokeAll(ctx, "alice", layer.ReasonPasswordChanged)
		})
		if ended != 100 || err != nil {
			t.Errorf("%d ended, %v", ended, err)
		}
		return trips <= 8 || t.Failed()
	}) {
		t.Errorf("%d round trips: %v", trips, commands)
	}
}

// The mark is what ends sessions: where the store doesn't remove them, they are over, and each is removed once it is met.
func TestSessionsThatAreNotRemovedAreOver(t *testing.T) {
	const sessions = 3
	ctx := context.Background()
	f := newFleet(t, 2)
	ids := make([]string, sessions)
	for n := range ids {
		ids[n] = fmt.Sprintf("session-%d-0123456789", n)
		f.device(n%2, ids[n]).logIn(t, "alice")
	}
	rights := func(rule string) {
		t.Helper()
		if err := f.client.Do(ctx, "acl", "setuser", "default", rule).Err(); err != nil {
			t.Fatal(err)
		}
	}
	rights("-del")
	if ended, err := f.users[0].RevokeAll(ctx, "alice", layer.ReasonPasswordChanged); ended != 0 || err != nil {
		t.Errorf("%d were ended, %v", ended, err)
	}
	if n := f.client.Exists(ctx, f.prefix+ids[0], f.prefix+ids[1], f.prefix+ids[2]).Val(); n != sessions {
		t.Fatalf("%d sessions are there, so that this tests nothing", n)
	}
	if list, _, err := f.users[1].List(ctx, "alice", ""); len(list) > 0 || err != nil {
		t.Errorf("%d are listed, %v", len(list), err)
	}
	rights("+del")
	for _, id := range ids {
		poll.Until(t, "the end on the other node", func() bool { return f.device(1, id).user(t) == "" })
		if f.device(0, id).user(t) != "" {
			t.Error("a session is left on the node itself")
		}
		poll.Until(t, "the removal", func() bool { return f.client.Exists(ctx, f.prefix+id).Val() == 0 })
		if reason, err := f.users[0].Reason(ctx, id); reason != layer.ReasonPasswordChanged || err != nil {
			t.Errorf("the reason is %q, %v", reason, err)
		}
	}
}

// All works without scripts. Where transactions are forbidden as well, a log-in
// says so in one sentence, and sessions of nobody go on.
func TestAnIndexWithoutScripts(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 2, layer.Limit(2, layer.EndOldest))
	rights := func(rules ...any) {
		t.Helper()
		if err := f.client.Do(ctx, append([]any{"acl", "setuser", "default"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	rights("-eval", "-evalsha")
	for n := range 3 {
		f.device(n%2, fmt.Sprintf("session-%d-0123456789", n)).logIn(t, "ann")
	}
	list, _, err := f.users[0].List(ctx, "ann", "")
	count, failed := f.users[0].Count(ctx)
	if err := errors.Join(err, failed); len(list) != 2 || count != 1 || err != nil {
		t.Errorf("%d are listed, %d principals counted, %v", len(list), count, err)
	}
	if ended, err := f.users[1].RevokeAll(ctx, "ann", layer.ReasonEndedByAdmin); ended != 2 || err != nil {
		t.Errorf("%d were ended, %v", ended, err)
	}
	for n := range 3 {
		poll.Until(t, "the end", func() bool { return f.device(n%2, fmt.Sprintf("session-%d-0123456789", n)).user(t) == "" })
	}

	visitor := f.device(0, "visitor-0123456789")
	if err := visitor.set("basket", "pears"); err != nil {
		t.Errorf("a visitor's request returned %v", err)
	}
	rights("-multi")
	if err := f.device(0, "new-0123456789").set("user", "ann"); err == nil || !strings.Contains(err.Error(), "layer.Indexed needs transactions") {
		t.Errorf("a log-in returned %v", err)
	}
	if basket, err := visitor.open().Get("basket"); err != nil || basket.String() != "pears" {
		t.Errorf("the visitor has %q, %v", basket, err)
	}
	if n := f.client.Exists(ctx, f.prefix+"new-0123456789").Val(); n != 0 {
		t.Error("a log-in that was refused is there")
	}
}

// A log-in that has returned before is over, one that begins afterwards isn't, and one in between
// is either on all nodes.
func TestLogInsThatRaceWithRevokeAll(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 3)
	for round := range 10 {
		var (
			user   = fmt.Sprintf("user-%d", round)
			before = fmt.Sprintf("before-%d-0123456789", round)
			racing sync.WaitGroup
			ids    []string
		)
		f.device(0, before).logIn(t, user)
		for n := range 12 {
			id := fmt.Sprintf("race-%d-%d-0123456789", round, n)
			ids = append(ids, id)
			racing.Add(1)
			go func() {
				defer racing.Done()
				if err := f.device(n%3, id).set("user", user); err != nil && !errors.Is(err, layer.ErrRevoked) {
					t.Error(err)
				}
			}()
		}
		if _, err := f.users[1].RevokeAll(ctx, user, layer.ReasonPasswordChanged); err != nil {
			t.Fatal(err)
		}
		after := fmt.Sprintf("after-%d-0123456789", round)
		f.device(2, after).logIn(t, user)
		racing.Wait()
		for node := range f.chains {
			poll.Until(t, "a log-in from before", func() bool { return f.device(node, before).user(t) == "" })
			if f.device(node, after).user(t) != user {
				t.Errorf("node %d: a log-in after it is over", node)
			}
		}
		for _, id := range ids {
			poll.Until(t, "the nodes agree", func() bool {
				first := f.device(0, id).user(t)
				return f.device(1, id).user(t) == first && f.device(2, id).user(t) == first
			})
		}
	}
}

// Updates of the same key by all nodes at once are all there, and so is what requests write beside.
func TestUpdateLosesNothing(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 3)
	var ids []string
	for n := range 3 {
		id := fmt.Sprintf("updated-%d-0123456789", n)
		ids = append(ids, id)
		d := f.device(n, id)
		d.logIn(t, "alice")
		if err := d.set("n", 0); err != nil {
			t.Fatal(err)
		}
	}
	f.device(0, "other-0123456789").logIn(t, "bob")
	const rounds = 10
	var all sync.WaitGroup
	for node := range f.chains {
		all.Add(2)
		go func() {
			defer all.Done()
			for range rounds {
				changed, err := f.users[node].Update(ctx, "alice", func(s *layer.Changes) error {
					n, err := strconv.Atoi(fmt.Sprint(s.Get("n")))
					s.Set("n", n+1)
					return err
				})
				if changed != 3 || err != nil {
					t.Errorf("%d changed, %v", changed, err)
				}
			}
		}()
		go func() {
			defer all.Done()
			for n := range rounds {
				if err := f.device(node, ids[node]).set(fmt.Sprintf("key-%d", n), n); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	all.Wait()
	for _, id := range ids {
		var data map[string]any
		poll.Until(t, "all updates", func() bool {
			data = f.device(0, id).open().MustData()
			return fmt.Sprint(data["n"]) == strconv.Itoa(3*rounds)
		})
		for n := range rounds {
			if fmt.Sprint(data[fmt.Sprintf("key-%d", n)]) != strconv.Itoa(n) {
				t.Errorf("a request's write is lost: %v", data)
			}
		}
	}
}

// An update changes what is there: it begins no session, leaves out one that has ended, leaves a
// time to live as it was, and returns what failed.
func TestUpdateChangesTheStoredSession(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 2)
	for n := range 3 {
		f.device(0, fmt.Sprintf("updated-%d-0123456789", n)).logIn(t, "alice")
	}
	gone := f.prefix + "updated-0-0123456789"
	if err := f.client.Del(ctx, gone).Err(); err != nil {
		t.Fatal(err)
	}
	if err := f.client.PExpire(ctx, f.prefix+"updated-1-0123456789", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "the session is gone here", func() bool { return f.device(1, "updated-0-0123456789").user(t) == "" })
	changed, err := f.users[1].Update(ctx, "alice", func(s *layer.Changes) error {
		s.Set("roles", []string{"admin"})
		return nil
	})
	if changed != 2 || err != nil {
		t.Errorf("%d changed, %v", changed, err)
	}
	if f.client.Exists(ctx, gone).Val() != 0 {
		t.Error("a session has begun")
	}
	if left := f.client.PTTL(ctx, f.prefix+"updated-1-0123456789").Val(); left > time.Minute {
		t.Errorf("it lives for %v", left)
	}
	broken := errors.New("a secret")
	changed, err = f.users[1].Update(ctx, "alice", func(s *layer.Changes) error { return broken })
	var one *layer.UpdateError
	if changed != 0 || !errors.Is(err, broken) || !errors.As(err, &one) || one.Handle == "" || strings.Contains(err.Error(), "secret") {
		t.Errorf("%d changed, %v", changed, err)
	}
	if changed, err = f.users[1].Update(ctx, "nobody", func(s *layer.Changes) error { return broken }); changed != 0 || err != nil {
		t.Errorf("%d changed, %v", changed, err)
	}
}

// However often a session is updated, it lives no longer than it would have.
func TestUpdateProlongsNoSession(t *testing.T) {
	ctx := context.Background()
	f := fleetOf(t, 1, func() []layer.Decorator {
		return []layer.Decorator{patientCoalesced(), patientLocal(), layer.Indexed(userOf)}
	})
	const id = "updated-0123456789"
	f.device(0, id).logIn(t, "alice")
	before := f.client.PTTL(ctx, f.prefix+id).Val()
	for n := range 20 {
		changed, err := f.users[0].Update(ctx, "alice", func(s *layer.Changes) error { s.Set("role", n); return nil })
		if changed != 1 || err != nil {
			t.Fatal(changed, err)
		}
	}
	if after := f.client.PTTL(ctx, f.prefix+id).Val(); before <= 0 || after <= 0 || after > before+time.Second { // which are rounded
		t.Errorf("it lived for %v, and lives for %v", before, after)
	}
}

// Each device class has a limit of its own, and a session that is ended has the reason that a newer
// log-in took its place.
func TestALimitPerDeviceClass(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 2, layer.Limit(1, layer.EndOldest, layer.PerDeviceClass()))
	logIn := func(node int, id, class string) {
		t.Helper()
		described := layer.WithDescription(ctx, map[string]string{layer.DescribedDevice: class, layer.DescribedIP: "192.0.2.0"})
		s := gsession.New(time.Hour, f.chains[node]).New(described, id)
		if err := errors.Join(s.Set("user", "alice"), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	logIn(0, "phone-0123456789", "mobile; or \x00 not")
	logIn(1, "desk-0123456789", "desktop")
	logIn(1, "newer-0123456789", "desktop")
	for id, want := range map[string]string{"phone-0123456789": "alice", "desk-0123456789": "", "newer-0123456789": "alice"} {
		poll.Until(t, id, func() bool { return f.device(0, id).user(t) == want && f.device(1, id).user(t) == want })
	}
	if reason, err := f.users[0].Reason(ctx, "desk-0123456789"); reason != layer.ReasonDisplaced || err != nil {
		t.Errorf("the reason is %q, %v", reason, err)
	}
	list, _, err := f.users[0].List(ctx, "alice", "")
	if err != nil || len(list) != 2 || list[0].Described[layer.DescribedIP] != "192.0.2.0" {
		t.Errorf("listed are %v, %v", list, err)
	}
}

// A place is free once its session has ended, whichever way: by a log-out, by a key that is removed,
// by an administrator, by its time to live, or by a crash that left its entry behind.
func TestAPlaceBelowTheLimitIsFreeOnceItsSessionHasEnded(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 2, layer.Limit(1, layer.RefuseNew))
	for name, end := range map[string]func(d device) error{
		"a log-out": func(d device) error { return d.chain.RemoveAll(ctx, d.id) },
		"a key": func(d device) error {
			s := d.open()
			return errors.Join(s.Remove("user"), s.Set("other", 1), s.Close())
		},
		"an administrator": func(d device) error {
			_, err := f.users[0].RevokeAll(ctx, d.id[:5], layer.ReasonEndedByAdmin)
			return err
		},
		"another user": func(d device) error { return d.set("user", "someone") },
	} {
		user := fmt.Sprintf("u%04d", len(name))
		first, second := f.device(0, user+"-first-0123456789"), f.device(1, user+"-second-0123456789")
		first.logIn(t, user)
		if err := second.set("user", user); !errors.Is(err, layer.ErrLimit) {
			t.Errorf("%s: a second log-in returned %v", name, err)
		}
		if second.user(t) != "" {
			t.Errorf("%s: a log-in that was refused is there", name)
		}
		if err := end(first); err != nil {
			t.Fatal(err)
		}
		if err := second.set("user", user); err != nil {
			t.Errorf("%s: the place isn't free: %v", name, err)
		}
	}
	brief := gsession.New(200*time.Millisecond, f.chains[0]).New(ctx, "brief-0123456789")
	if err := errors.Join(brief.Set("user", "brief"), brief.Close()); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "what has expired", func() bool { return f.device(1, "brief-second-0123456789").set("user", "brief") == nil })
}

// A principal whose last session has ended, in whichever way, is neither listed nor counted.
func TestAPrincipalWithoutSessionsIsNotCounted(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 1)
	users := f.users[0]
	for name, end := range map[string]func(d device) error{
		"a log-out": func(d device) error { return d.chain.RemoveAll(ctx, d.id) },
		"a key": func(d device) error {
			s := d.open()
			return errors.Join(s.Remove("user"), s.Set("other", 1), s.Close())
		},
		"all of a principal": func(device) error {
			_, err := users.RevokeAll(ctx, "ann", layer.ReasonEndedByAdmin)
			return err
		},
		"one by its handle": func(d device) error {
			handle, err := users.Handle(ctx, d.id)
			return errors.Join(err, users.Revoke(ctx, handle, layer.ReasonEndedByAdmin))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := f.device(0, fmt.Sprintf("counted-%016d", len(name)))
			d.logIn(t, "ann")
			if n, err := users.Count(ctx); n != 1 || err != nil {
				t.Fatalf("%d are counted, not 1 (%v)", n, err)
			}
			if err := end(d); err != nil {
				t.Fatal(err)
			}
			if n, err := users.Count(ctx); n != 0 || err != nil {
				t.Errorf("%d are counted, not 0 (%v)", n, err)
			}
			if page, _, err := users.All(ctx, ""); len(page) != 0 || err != nil {
				t.Errorf("%v are listed (%v)", page, err)
			}
		})
	}
}

// While a node receives no invalidations, a mark ends its log-ins and the sessions in its memory as
// soon as it can be reached, and within the lease.
func TestAMarkReachesANodeThatWasCutOff(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 1)
	proxy := redistest.StartProxy(t, f.server.Addr())
	c := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: time.Second})
	store := redisstore.New(c, redisstore.Prefix(f.prefix))
	chain := layer.Chain(store, patientCoalesced(), patientLocal(), layer.Indexed(userOf))
	t.Cleanup(func() { _ = errors.Join(chain.Close(ctx), store.Close(ctx), c.Close()) })
	id := "cut-off-0123456789"
	far := device{chain, id}
	poll.Until(t, "a log-in", func() bool { return far.set("user", "alice") == nil })
	poll.Until(t, "memory", func() bool {
		user, err := far.open().Get("user")
		return err == nil && user.String() == "alice"
	})
	proxy.Stall()
	keys := f.client.Keys(ctx, f.prefix+"strata:{*}:i:*").Val()
	if err := f.client.Del(ctx, keys...).Err(); err != nil { // so that nothing but the mark ends it
		t.Fatal(err)
	}
	if _, err := f.users[0].RevokeAll(ctx, "alice", layer.ReasonEndedByAdmin); err != nil {
		t.Fatal(err)
	}
	time.Sleep(redisstore.DefaultLease)
	if user, err := far.open().Get("user"); err == nil && user.String() != "" {
		t.Error("it is served after the lease")
	}
	proxy.Resume()
	served := ""
	for range 2 {
		poll.Until(t, "it can be reached", func() bool {
			user, err := far.open().Get("user")
			served = user.String()
			return err == nil
		})
	}
	if served != "" {
		t.Error("it is served after the cut")
	}
}

// Sessions from before there was an index are ended by marks, and listed once they were written.
func TestSessionsFromBeforeIndexed(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 1)
	old := layer.Chain(redisstore.New(f.client, redisstore.Prefix(f.prefix)))
	t.Cleanup(func() { _ = old.Close(ctx) })
	device{old, "one-0123456789"}.logIn(t, "alice")
	device{old, "two-0123456789"}.logIn(t, "alice")
	if f.device(0, "one-0123456789").user(t) != "alice" {
		t.Fatal("not logged in")
	}
	if err := f.device(0, "two-0123456789").set("k", 1); err != nil {
		t.Fatal(err)
	}
	if list, _, err := f.users[0].List(ctx, "alice", ""); len(list) != 1 || err != nil {
		t.Errorf("listed are %v, %v", list, err)
	}
	if _, err := f.users[0].RevokeAll(ctx, "alice", layer.ReasonEndedByAdmin); err != nil {
		t.Fatal(err)
	}
	if f.device(0, "one-0123456789").user(t) != "" || f.device(0, "two-0123456789").user(t) != "" {
		t.Error("one lives on")
	}
}

// No principal, address, device, handle, id or tag is in a chain's output, nor a principal in a
// key's name, nor an id in a handle.
func TestNothingOfAPrincipalIsInTelemetry(t *testing.T) {
	const (
		user   = "user-secret-5d1f"
		ip     = "198.51.100.77"
		class  = "class-secret-77aa"
		id     = "id-secret-0b0b0b0b"
		prefix = "private:"
	)
	ctx := context.Background()
	server := redistest.Start(t)
	o, traced := observe()
	c := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1, DialTimeout: time.Second})
	t.Cleanup(func() { _ = c.Close() })
	chain := layer.Chain(redisstore.New(c, redisstore.Prefix(prefix)), patientCoalesced(), patientLocal(), layer.Indexed(userOf, layer.Limit(2, layer.RefuseNew)), traced)
	users := layer.Principals(chain)
	said := func(err error) {
		if err != nil {
			o.errors = append(o.errors, err)
		}
	}
	logIn := func(id string) {
		described := layer.WithDescription(ctx, map[string]string{layer.DescribedDevice: class, layer.DescribedIP: ip})
		s := gsession.New(time.Hour, chain).New(described, id)
		said(s.Set("user", user))
		said(s.Close())
		if dump := fmt.Sprintf("%+v %#v", described, described); strings.Contains(dump, ip) || strings.Contains(dump, class) {
			t.Errorf("a dumped context shows the description")
		}
	}
	for n := range 3 {
		logIn(fmt.Sprint(id, n))
	}
	list, _, err := users.List(ctx, user, "")
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, s := range list {
		if strings.Contains(s.Handle, "secret") {
			t.Error("a handle shows what it stands for")
		}
	}
	keys, err := c.Keys(ctx, "*").Result()
	if err != nil || len(keys) < 4 {
		t.Fatal(keys, err)
	}
	for _, key := range keys {
		if strings.Contains(key, user) || strings.HasPrefix(key, prefix+"strata:") && strings.Contains(key, "secret") {
			t.Errorf("a key is called %q", key)
		}
	}
	late := gsession.New(time.Hour, chain).New(ctx, id+"0")
	said(late.Set("late", 1))
	_, err = users.Update(ctx, user, func(*layer.Changes) error { return errors.New(user) })
	said(err)
	_, err = users.RevokeAll(ctx, user, layer.ReasonEndedByAdmin)
	said(err)
	said(late.Close())
	said(users.Revoke(ctx, user, layer.ReasonEndedByAdmin))
	_, _, err = users.All(ctx, user)
	said(err)
	server.Stop()
	logIn(id + "9")
	_, _, err = users.List(ctx, user, "")
	said(err)
	_, err = users.RevokeAll(ctx, user, layer.ReasonEndedByAdmin)
	said(err)
	said(chain.RemoveAll(ctx, id+"1"))
	server.Restart(t)
	said(chain.Close(ctx))
	if len(o.errors) < 7 {
		t.Errorf("only %d errors: %v", len(o.errors), o.errors)
	}
	output := o.everything(t)
	for _, secret := range []string{user, ip, class, id, list[0].Handle, prefix, ip[:7]} {
		if at := strings.Index(output, secret); at >= 0 {
			t.Errorf("%q is in the output: …%s…", secret, output[max(0, at-200):min(len(output), at+100)])
		}
	}
}

// A session whose principal changes, on whichever node, is that principal's and nobody else's.
func TestASessionThatGoesFromOnePrincipalToAnotherAndBack(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 2)
	const id = "shared-0123456789"
	for n, user := range []string{"ann", "bob", "ann", "", "bob", "bob", "", "bob", "ann", "ann", "", "", "ann", "", "bob", "ann"} {
		d := f.device(n*2/3%2, id) // each node has its turn after itself, and after the other one
		if n > 0 {
			poll.Until(t, "the change of the other node", func() bool { return d.open().MustGet("n").Int() == n })
		}
		s := d.open()
		if err := errors.Join(s.Set("user", user), s.Set("n", n+1), s.Close()); err != nil {
			t.Fatal(err)
		}
		for principal, want := range map[string]int{"ann": 0, "bob": 0, user: 1} {
			if principal == "" {
				continue
			}
			if list, _, err := f.users[n*2/3%2].List(ctx, principal, ""); len(list) != want || err != nil {
				t.Errorf("change %d, to %q: %d sessions of %s are listed, %v", n, user, len(list), principal, err)
			}
		}
	}
	if err := errors.Join(f.chains[0].Flush(ctx), f.chains[1].Flush(ctx)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.users[1].RevokeAll(ctx, "bob", layer.ReasonEndedByAdmin); err != nil {
		t.Error(err)
	}
	if f.device(1, id).user(t) != "ann" {
		t.Error("the session was ended as bob's")
	}
	if _, err := f.users[1].RevokeAll(ctx, "ann", layer.ReasonEndedByAdmin); err != nil {
		t.Error(err)
	}
	poll.Until(t, "the end", func() bool { return f.device(0, id).user(t) == "" })
}

// A request that comes to its commit after its session was ended, and has begun anew under the same
// id on another node, as GoFrame has it, is refused and leaves the new one alone.
func TestALateCommitLeavesTheSessionAloneThatHasBegunAnew(t *testing.T) {
	ctx := context.Background()
	f := newFleet(t, 2)
	const id = "same-0123456789"
	other := f.device(1, "other-0123456789")
	f.device(0, id).logIn(t, "ann")
	other.logIn(t, "ann")
	late := f.device(1, id).open()
	if err := late.Set("k", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := f.users[0].RevokeAll(ctx, "ann", layer.ReasonEndedByAdmin); err != nil {
		t.Fatal(err)
	}
	f.device(0, id).logIn(t, "ann")
	poll.Until(t, "the mark", func() bool { return other.user(t) == "" })
	if err := late.Close(); !errors.Is(err, layer.ErrRevoked) || layer.ReasonOf(err) != layer.ReasonEndedByAdmin {
		t.Errorf("the late commit returned %v, reason %q", err, layer.ReasonOf(err))
	}
	if f.client.Exists(ctx, f.prefix+id).Val() != 1 {
		t.Error("the late commit has ended the new session")
	}
}

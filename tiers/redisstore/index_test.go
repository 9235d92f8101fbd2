package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/internal/redistest"
)

// A principal's entries are read in pages: each once, however many end at the same time, whether the entries of a
// page are removed before the next one is read or not.
func TestEntriesAreReadInPages(t *testing.T) {
	const many, size = 23, 4
	ctx := context.Background()
	s, err := Open(redistest.Start(t).URL(), Prefix("s:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	x := &index{Storage: s}
	for name, ttl := range map[string]func(n int) time.Duration{
		"at the same time": func(int) time.Duration { return time.Hour },
		"one by one":       func(n int) time.Duration { return time.Hour - time.Duration(n)*time.Second },
		"much later":       func(n int) time.Duration { return 20*24*time.Hour + time.Duration(n%3)*time.Hour },
	} {
		for _, remove := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, removed %t", name, remove), func(t *testing.T) {
				key := principals.KeyOf(t.Name())
				entries := make([]principals.Entry, many)
				for n := range entries {
					entries[n] = principals.Entry{
						Principal: t.Name(), Key: key, ID: fmt.Sprintf("session-%02d-0123456789", n), Tag: fmt.Sprintf("tag-%07d", many-n),
						Begun: time.Now().Add(-time.Duration(n%5) * time.Second), TTL: ttl(n),
					}
				}
				if err := x.Touch(ctx, entries); err != nil {
					t.Fatal(err)
				}
				var (
					seen  = map[string]bool{}
					after principals.Entry
				)
				for {
					page, err := x.Entries(ctx, key, after, size)
					if err != nil || len(page) > size {
						t.Fatal(page, err)
					}
					for _, e := range page {
						if seen[e.ID] || e.Compare(after) <= 0 {
							t.Errorf("%s comes twice, or in another order", e.ID)
						}
						seen[e.ID], after = true, e
					}
					if len(page) < size {
						break
					}
					if remove {
						if err := x.Leave(ctx, page); err != nil {
							t.Fatal(err)
						}
					}
				}
				if len(seen) != many {
					t.Errorf("%d of %d entries were read", len(seen), many)
				}
			})
		}
	}
}

// indexOn is the index of a store on a server of the test's own.
func indexOn(t *testing.T, server *redistest.Server) *index {
	t.Helper()
	s, err := Open(server.URL(), Prefix("s:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return &index{Storage: s}
}

// entryOf is an entry of a session of its own.
func entryOf(principal string, n int, ttl time.Duration) principals.Entry {
	return principals.Entry{
		Principal: principal, Key: principals.KeyOf(principal), ID: fmt.Sprintf("session-%02d-0123456789", n),
		Tag: fmt.Sprintf("tag-%07d", n), Begun: time.UnixMilli(1e12), TTL: ttl,
	}
}

func (x *index) markOwn(ctx context.Context, key principals.Key, mark principals.Mark, lasts time.Duration) error {
	_, err := x.Mark(ctx, key, mark, lasts)
	return err
}

// expect checks which principals are listed, and that as many are counted.
func (x *index) expect(t *testing.T, want ...string) {
	t.Helper()
	var listed []string
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := x.Page(context.Background(), cursor, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page {
			listed = append(listed, p.Principal)
		}
		cursor = next
	}
	slices.Sort(listed)
	if !slices.Equal(listed, want) {
		t.Errorf("%q are listed, not %q", listed, want)
	}
	if n, err := x.Count(context.Background()); n != len(want) || err != nil {
		t.Errorf("%d are counted, not %d (%v)", n, len(want), err)
	}
}

// waitFor asks again and again, with a round trip each time: in a bubble of synctest no time passes meanwhile.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 200_000 {
		if ok() {
			return
		}
	}
	t.Fatal("never: " + what)
}

// As many principals are counted as are listed, whichever of their sessions has ended, and whether its principal was
// known then.
func TestAsManyPrincipalsAreCountedAsAreListed(t *testing.T) {
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	leave := func(e principals.Entry) {
		t.Helper()
		if err := x.Leave(ctx, []principals.Entry{e}); err != nil {
			t.Fatal(err)
		}
	}
	for n, name := range []string{"ann", "bob", "cid", "dan", "eve"} {
		if err := x.Touch(ctx, []principals.Entry{entryOf(name, n, time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	x.expect(t, "ann", "bob", "cid", "dan", "eve")
	leave(entryOf("ann", 0, time.Hour))
	x.expect(t, "bob", "cid", "dan", "eve")
	for n, name := range []string{"bob", "cid", "dan"} {
		entries, err := x.Entries(ctx, principals.KeyOf(name), principals.Entry{}, 10)
		if err != nil || len(entries) != 1 {
			t.Fatal(n, entries, err)
		}
		leave(entries[0])
	}
	x.expect(t, "eve")

	// The session that would have lived longest ends first.
	short := entryOf("fay", 5, 300*time.Millisecond)
	if err := x.Touch(ctx, []principals.Entry{short, entryOf("fay", 6, time.Hour)}); err != nil {
		t.Fatal(err)
	}
	leave(entryOf("fay", 6, time.Hour))
	waitFor(t, "the short session has ended", func() bool {
		entries, err := x.Entries(ctx, short.Key, principals.Entry{}, 10)
		return err == nil && len(entries) == 0
	})
	if n, err := x.Count(ctx); n != 1 || err != nil {
		t.Errorf("%d are counted, not 1 (%v)", n, err)
	}
	x.expect(t, "eve")
}

// Sessions end by the server's clock: this node's is years behind.
func TestPrincipalsAreCountedByTheServersClock(t *testing.T) {
	server := redistest.Start(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, x := context.Background(), indexOn(t, server)
		neighbour := "bob" // in ann's shard, whose set therefore lives on
		for x.ShardOf(principals.KeyOf(neighbour)) != x.ShardOf(principals.KeyOf("ann")) {
			neighbour += "b"
		}
		if err := x.Touch(ctx, []principals.Entry{entryOf("ann", 0, 300*time.Millisecond), entryOf(neighbour, 1, time.Hour)}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the session has ended", func() bool {
			x.clock.Store(nil) // asks again, as no time passes here
			n, err := x.Count(ctx)
			return err == nil && n == 1
		})
		x.expect(t, neighbour)
	})
}

// repeating has each command sent twice, as if the first reply was lost.
type repeating struct{}

func (repeating) DialHook(next redis.DialHook) redis.DialHook { return next }

func (repeating) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, c redis.Cmder) error { _ = next(ctx, c); return next(ctx, c) }
}

func (repeating) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, all []redis.Cmder) error { _ = next(ctx, all); return next(ctx, all) }
}

// The client repeats commands whose reply was lost: what the index holds is the same as without.
func TestCommandsMayBeRepeated(t *testing.T) {
	var states [2]string
	for n := range states {
		ctx, x := context.Background(), indexOn(t, redistest.Start(t))
		if n > 0 {
			x.client.AddHook(repeating{})
		}
		first, second, long := entryOf("ann", 0, time.Hour), entryOf("ann", 1, time.Hour), entryOf("ann", 2, 48*time.Hour)
		mark := principals.Mark{Nonce: "nonce-45678", Reason: "r"}
		if err := errors.Join(
			x.Touch(ctx, []principals.Entry{first, long}), x.markOwn(ctx, first.Key, mark, time.Hour), x.MarkAll(ctx, mark, time.Hour),
			x.MarkEnded(ctx, long, "r", time.Hour), x.Leave(ctx, []principals.Entry{long}),
		); err != nil {
			t.Fatal(err)
		}
		entered, err := x.Enter(ctx, second, 10)
		if err != nil {
			t.Fatal(err)
		}
		all, err := x.Entries(ctx, first.Key, principals.Entry{}, 10)
		marks, failed := x.Marks(ctx, []int{x.ShardOf(first.Key)})
		if err := errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		states[n] = fmt.Sprint(entered.Own, entered.All, len(entered.Others), entered.More, len(all), marks)
		x.expect(t, "ann")
	}
	if states[0] != states[1] {
		t.Errorf("%s\nafter repetitions\n%s", states[0], states[1])
	}
}

// A log-in is returned so many of the other sessions as it asks for, those that end first, and how many more there are.
func TestALogInReadsABoundedPart(t *testing.T) {
	const many = 20
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	entries := make([]principals.Entry, many)
	for n := range entries {
		entries[n] = entryOf("ann", n, time.Hour+time.Duration(n)*time.Second)
	}
	if err := x.Touch(ctx, entries); err != nil {
		t.Fatal(err)
	}
	for asked, returned := range map[int]int{0: 0, 1: 1, 7: 7, many - 1: many - 1, many: many, many + 1: many} {
		own := entryOf("ann", many, time.Hour+3*time.Second)
		entered, err := x.Enter(ctx, own, asked)
		if err != nil || len(entered.Others) != returned || asked > 0 && entered.More != many-returned {
			t.Errorf("%d asked for: %d and %d more, %v", asked, len(entered.Others), entered.More, err)
		}
		for n, other := range entered.Others {
			if other.ID != entries[n].ID || other.Principal != "ann" {
				t.Errorf("%d asked for: %s is number %d", asked, other.ID, n)
			}
		}
	}
}

// A session that lives for a shorter time than another one of its principal's takes nothing from that.
func TestSessionsOfAPrincipalLiveForDifferentTimes(t *testing.T) {
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	long, short, brief := entryOf("ann", 0, 48*time.Hour), entryOf("ann", 1, time.Hour), entryOf("ann", 2, time.Minute)
	if err := x.Touch(ctx, []principals.Entry{long, short}); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Enter(ctx, brief, 0); err != nil {
		t.Fatal(err)
	}
	if left := x.client.PTTL(ctx, x.entriesKey(long.Key)).Val(); left < long.TTL {
		t.Errorf("the entries live for %v", left)
	}
	expiry := x.client.ZScore(ctx, x.principalsKey(long.Key), "ann").Val()
	if left := time.Until(time.UnixMilli(int64(expiry) * 100)); left < long.TTL-time.Minute {
		t.Errorf("the principal is listed for %v", left)
	}
}

// Marks that have lasted are removed, and no other.
func TestMarksThatHaveLastedAreRemoved(t *testing.T) {
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	over, stays := entryOf("ann", 0, time.Hour), entryOf("ann", 1, time.Hour)
	if err := errors.Join(x.MarkEnded(ctx, over, "r", time.Hour), x.MarkEnded(ctx, stays, "r", 3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	now, err := x.now(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	hash := x.marksKey(x.ShardOf(over.Key))
	for _, c := range []struct {
		later time.Duration
		left  []string
	}{{0, []string{"x" + over.Tag, "x" + stays.Tag}}, {2 * time.Hour, []string{"x" + stays.Tag}}} {
		if err := x.clean(ctx, hash, now+int64(c.later/tenth)); err != nil {
			t.Fatal(err)
		}
		left := x.client.HKeys(ctx, hash).Val()
		slices.Sort(left)
		if !slices.Equal(left, c.left) {
			t.Errorf("after %v: %q are left", c.later, left)
		}
	}
}

// An entry says when its session was used last, however long it lives.
func TestTheLastUseIsKnownHoweverLongASessionLives(t *testing.T) {
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	lives := []time.Duration{900 * time.Millisecond, 30 * time.Minute, 36*time.Hour + 30*time.Minute, 20*24*time.Hour + 1, 365 * 24 * time.Hour, 0, 100 * 365 * 24 * time.Hour}
	for n, ttl := range lives {
		name := fmt.Sprint("user", n)
		before := time.Now()
		if err := x.Touch(ctx, []principals.Entry{entryOf(name, n, ttl)}); err != nil {
			t.Fatal(err)
		}
		after := time.Now()
		entries, err := x.Entries(ctx, principals.KeyOf(name), principals.Entry{}, 10)
		if err != nil || len(entries) != 1 {
			t.Fatal(entries, err)
		}
		seen := entries[0].Expires.Add(-entries[0].TTL)
		if seen.Before(before.Add(-time.Second)) || seen.After(after.Add(time.Second)) { // the unit of a ttl
			t.Errorf("ttl %v: seen %v after it was", ttl, seen.Sub(before))
		}
	}
}

// A mark outlives the sessions that the index knows: one that lives longer than marks do would be there again.
func TestAMarkOutlivesTheSessions(t *testing.T) {
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	e := entryOf("ann", 0, 365*24*time.Hour)
	for name, mark := range map[string]func() error{
		"own":   func() error { return x.markOwn(ctx, e.Key, principals.Mark{Nonce: "n"}, time.Hour) },
		"all":   func() error { return x.MarkAll(ctx, principals.Mark{Nonce: "n"}, time.Hour) },
		"ended": func() error { return x.MarkEnded(ctx, e, "r", time.Hour) },
	} {
		if err := x.client.FlushDB(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(x.Touch(ctx, []principals.Entry{e}), mark()); err != nil {
			t.Fatal(err)
		}
		marks := x.marksKey(x.ShardOf(e.Key))
		for _, value := range x.client.HVals(ctx, marks).Val() {
			until, _, _ := strings.Cut(value, ";")
			tenths, err := strconv.ParseInt(until, 10, 64)
			if err != nil || time.UnixMilli(tenths*100).Before(time.Now().Add(e.TTL)) {
				t.Errorf("%s: the mark lasts until %s, %v", name, until, err)
			}
		}
		if left := x.client.PTTL(ctx, marks).Val(); left < e.TTL {
			t.Errorf("%s: the marks of the shard live for %v", name, left)
		}
	}
}

// The age of an entry is by the server's clock, wherever it is read: this node's is years behind, and the one where the
// session began was years ahead.
func TestTheAgeOfAnEntryIsByTheServersClock(t *testing.T) {
	server := redistest.Start(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, x := context.Background(), indexOn(t, server)
		first, second := entryOf("ann", 0, 30*24*time.Hour), entryOf("ann", 1, time.Hour)
		first.Begun = time.UnixMilli(4e12)
		aged := func(name string, all []principals.Entry, err error) {
			t.Helper()
			if err != nil || len(all) != 1 || all[0].ID != first.ID || all[0].Age < 0 || all[0].Age > time.Hour {
				t.Errorf("%s: %+v, %v", name, all, err)
			}
		}
		if err := x.Touch(ctx, []principals.Entry{first}); err != nil {
			t.Fatal(err)
		}
		entries, err := x.Entries(ctx, first.Key, principals.Entry{}, 10)
		aged("listed", entries, err)
		entered, err := x.Enter(ctx, second, 1)
		aged("beside a log-in", entered.Others, err)
		waitFor(t, "the entry grows older", func() bool {
			x.clock.Store(nil) // asks again, as no time passes here
			entries, err := x.Entries(ctx, second.Key, principals.Entry{}, 10)
			return err == nil && len(entries) == 2 && entries[0].Age >= 200*time.Millisecond
		})
	})
}

// Of two log-ins whose commands come interleaved, one is returned to the other: so a limit lets neither both in nor none.
func TestOfTwoLogInsAtOnceOneCountsTheOther(t *testing.T) {
	ctx, server := context.Background(), redistest.Start(t)
	x := indexOn(t, server)
	var second principals.Entered
	enter := sync.OnceFunc(func() {
		var err error
		if second, err = x.Enter(ctx, entryOf("ann", 1, time.Hour), 10); err != nil {
			t.Error(err)
		}
	})
	first, err := relayed(t, server, func(command []string) string {
		if command[0] == "zcard" {
			enter()
		}
		return ""
	}).Enter(ctx, entryOf("ann", 0, time.Hour), 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Others)+len(second.Others) != 1 {
		t.Errorf("the one counts %d, the other %d", len(first.Others), len(second.Others))
	}
}

// relayed is an index on a server, by one connection at a time, whose commands reply sees first: it replies to those
// that it returns something for.
func relayed(t *testing.T, server *redistest.Server, reply func(command []string) string) *index {
	t.Helper()
	s, err := Open("redis://"+redistest.StartRelay(t, server.Addr(), reply)+"?pool_size=1", Prefix("s:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return &index{Storage: s}
}

// Commands of which one is refused are an error that names it, also if the server has no transactions; the connection
// is of use afterwards.
func TestATransactionThatIsRefused(t *testing.T) {
	for _, c := range []struct{ command, reply string }{
		{"multi", "-ERR unknown command 'multi'"},
		{"zcard", "-ERR unknown command 'zcard'"},
		{"exec", "-ERR unknown command 'exec'"},
		{"exec", "-EXECABORT Transaction discarded because of: NOPERM this user has no permissions to run the 'exec' command"},
	} {
		ctx := context.Background()
		x := relayed(t, redistest.Start(t), func(command []string) string {
			if command[0] == c.command {
				return c.reply + "\r\n"
			}
			return ""
		})
		if _, err := x.Enter(ctx, entryOf("ann", 0, time.Hour), 10); err == nil || !strings.Contains(err.Error(), "layer.Indexed needs transactions") {
			t.Errorf("%s: %v", c.reply, err)
		}
		if reason, err := x.ReasonOf(ctx, "some-id"); reason != "" || err != nil {
			t.Errorf("%s: the next command returned %q, %v", c.reply, reason, err)
		}
	}
}

// failing is a hook by which the connection fails at the first transaction.
type failing struct {
	innermost
	failed *atomic.Bool
}

func (f failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		if commands[0].Name() == "multi" && f.failed.CompareAndSwap(false, true) {
			for _, c := range commands {
				c.SetErr(io.EOF)
			}
			return io.EOF
		}
		return next(ctx, commands)
	}
}

// The same in a cluster, also after a fault of the network.
func TestAClusterWithoutEXEC(t *testing.T) {
	ctx := context.Background()
	cluster := redistest.StartCluster(t, 1, "--rename-command", "EXEC", "")
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{cluster.Masters[0].Addr()}, PoolSize: 1})
	t.Cleanup(func() { _ = client.Close() })
	failed := &atomic.Bool{}
	client.OnNewNode(func(node *redis.Client) { node.AddHook(&failing{failed: failed}) })
	for name, client := range map[string]redis.UniversalClient{"cluster": client, "wrapped": struct{ redis.UniversalClient }{client}} {
		x := &index{Storage: New(client, Prefix("s:"))}
		_ = client.Get(ctx, "none") // and COMMAND, which go-redis asks first
		for range 2 {
			failed.Store(false)
			if _, err := x.Enter(ctx, entryOf("ann", 0, time.Hour), 10); err == nil || !strings.Contains(err.Error(), "layer.Indexed needs transactions") {
				t.Errorf("%s: %v", name, err)
			}
			if got, err := client.Get(ctx, "none").Result(); err != redis.Nil {
				t.Errorf("%s: the next command returned %q, %v", name, got, err)
			}
		}
	}
}

// A mark that is set while marks that have lasted are removed stays, and none is removed where that can't be known.
func TestAMarkThatIsSetMeanwhileIsNotRemoved(t *testing.T) {
	for _, refused := range []string{"", "multi", "watch"} {
		ctx, server := context.Background(), redistest.Start(t)
		other, mark := indexOn(t, server), entryOf("ann", 0, time.Hour)
		if err := other.MarkEnded(ctx, mark, "r", time.Hour); err != nil {
			t.Fatal(err)
		}
		now, err := other.now(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		again := sync.OnceFunc(func() {
			if err := other.MarkEnded(ctx, mark, "r", 3*time.Hour); err != nil {
				t.Error(err)
			}
		})
		x := relayed(t, server, func(command []string) string {
			switch command[0] {
			case refused:
				return "-NOPERM this user has no permissions\r\n"
			case "hdel", "exec":
				again()
			}
			return ""
		})
		if err := x.clean(ctx, x.marksKey(x.ShardOf(mark.Key)), now+int64(2*time.Hour/tenth)); (err != nil) != (refused != "") {
			t.Errorf("%q is refused: %v", refused, err)
		}
		if n := other.client.HLen(ctx, x.marksKey(x.ShardOf(mark.Key))).Val(); n != 1 {
			t.Errorf("%q is refused: %d marks are left", refused, n)
		}
	}
}

// The keys of a shard to which a former version gave a time to live outlive what is entered later.
func TestKeysOfAFormerVersionLiveOn(t *testing.T) {
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	e := entryOf("ann", 0, time.Hour)
	for name, change := range map[string]struct {
		key   string
		enter func() error
	}{
		"log-in": {x.principalsKey(e.Key), func() error { _, err := x.Enter(ctx, e, 0); return err }},
		"use":    {x.principalsKey(e.Key), func() error { return x.Touch(ctx, []principals.Entry{e}) }},
		"own":    {x.marksKey(x.ShardOf(e.Key)), func() error { return x.markOwn(ctx, e.Key, principals.Mark{Nonce: "n"}, 30*24*time.Hour) }},
		"all":    {x.marksKey(x.ShardOf(e.Key)), func() error { return x.MarkAll(ctx, principals.Mark{Nonce: "n"}, 30*24*time.Hour) }},
		"ended":  {x.marksKey(x.ShardOf(e.Key)), func() error { return x.MarkEnded(ctx, e, "r", 30*24*time.Hour) }},
	} {
		if err := errors.Join(change.enter(), x.client.PExpire(ctx, change.key, time.Minute).Err(), change.enter()); err != nil {
			t.Fatal(err)
		}
		if left := x.client.PTTL(ctx, change.key).Val(); left < 30*24*time.Hour {
			t.Errorf("%s: the key lives for %v", name, left)
		}
	}
}

// A log-in reaches the master that an address leads to once the one before has been demoted.
func TestALogInAfterAFailover(t *testing.T) {
	ctx, old := context.Background(), redistest.Start(t)
	proxy := redistest.StartProxy(t, old.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), PoolSize: 1})
	t.Cleanup(func() { _ = client.Close() })
	x := &index{Storage: New(client, Prefix("s:"))}
	if _, err := x.Enter(ctx, entryOf("ann", 0, time.Hour), 0); err != nil {
		t.Fatal(err)
	}
	if err := old.Client().ReplicaOf(ctx, "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	proxy.Lead(redistest.Start(t).Addr())
	if _, err := x.Enter(ctx, entryOf("ann", 1, time.Hour), 0); err != nil {
		t.Error(err)
	}
	x.expect(t, "ann")
}

// The moment of a reply is the server's, not that of a request that has waited; and its clock goes on while it
// gives none.
func TestTheServersClockIsKnown(t *testing.T) {
	var (
		ctx    = context.Background()
		asked  time.Time
		silent bool
	)
	x := relayed(t, redistest.Start(t), func(command []string) string {
		if command[0] != "time" {
			return ""
		}
		if asked = time.Now(); silent {
			return "-ERR busy\r\n"
		}
		return ""
	})
	before, err := x.now(ctx, "")
	if known := x.clock.Load(); err != nil || known.here.Before(asked) {
		t.Errorf("the clock is that of %v before the reply, %v", asked.Sub(known.here), err)
	}
	silent = true
	x.clock.Store(&moment{here: x.clock.Load().here.Add(-2 * clockAge), there: x.clock.Load().there})
	if now, err := x.now(ctx, ""); err != nil || now < before+int64(2*clockAge/tenth) {
		t.Errorf("the clock went on from %d to %d, %v", before, now, err)
	}
}

// timed notes which nodes of a cluster are asked for their clocks.
type timed struct {
	repeating
	address string
	asked   *sync.Map
}

func (h timed) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, c redis.Cmder) error { h.note(c); return next(ctx, c) }
}

func (h timed) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, all []redis.Cmder) error { h.note(all...); return next(ctx, all) }
}

func (h timed) note(commands ...redis.Cmder) {
	for _, c := range commands {
		if c.Name() == "time" {
			h.asked.Store(h.address, true)
		}
	}
}

// A log-in in a cluster needs no other master than that of its principal.
func TestALogInAsksOneMaster(t *testing.T) {
	ctx := context.Background()
	client := redistest.StartCluster(t, 3).Client()
	var asked sync.Map
	client.OnNewNode(func(node *redis.Client) { node.AddHook(timed{address: node.Options().Addr, asked: &asked}) })
	x := &index{Storage: New(client, Prefix("s:"))}
	e := entryOf("ann", 0, time.Hour)
	for range 20 {
		x.clock.Store(nil)
		if _, err := x.Enter(ctx, e, 0); err != nil {
			t.Fatal(err)
		}
	}
	master, err := client.MasterForKey(ctx, x.entriesKey(e.Key))
	if err != nil {
		t.Fatal(err)
	}
	want, n := master.Options().Addr, 0
	asked.Range(func(address, _ any) bool {
		if n++; address != want {
			t.Error("another master is asked for its clock")
		}
		return true
	})
	if n == 0 {
		t.Error("no master is asked for its clock")
	}
}

// A client that contains one of a cluster has each transaction at one master.
func TestALogInThroughAWrappedClient(t *testing.T) {
	ctx := context.Background()
	x := &index{Storage: New(struct{ *redis.ClusterClient }{redistest.StartCluster(t, 3).Client()}, Prefix("s:"))}
	for n := range 10 {
		name := fmt.Sprint("user", n)
		if _, err := x.Enter(ctx, entryOf(name, n, time.Hour), 0); err != nil {
			t.Error(err)
		}
		if all, err := x.Entries(ctx, principals.KeyOf(name), principals.Entry{}, 10); err != nil || len(all) != 1 {
			t.Errorf("%d entries, %v", len(all), err)
		}
	}
}

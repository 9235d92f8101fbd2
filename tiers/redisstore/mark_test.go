package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/internal/redistest"
)

// marked is ann's mark and everybody's as they are in force.
func (x *index) marked(t *testing.T) (own, all principals.Mark) {
	t.Helper()
	key := principals.KeyOf("ann")
	marks, err := x.Marks(context.Background(), []int{x.ShardOf(key)})
	if err != nil {
		t.Fatal(err)
	}
	return marks[0].Own[key], marks[0].All
}

// A mark whose reply is lost comes into force once: if it came again after another one, sessions that began between the two
// would live again.
func TestAMarkThatWasReplacedDoesNotComeAgain(t *testing.T) {
	ctx, server := context.Background(), redistest.Start(t)
	key := principals.KeyOf("ann")
	own := func(kept ...principals.Kept) func(x *index, nonce string) error {
		return func(x *index, nonce string) error {
			return x.markOwn(ctx, key, principals.Mark{Nonce: nonce, Kept: kept}, time.Hour)
		}
	}
	for name, set := range map[string]func(x *index, nonce string) error{
		"one principal's":                own(),
		"one principal's, with one kept": own(principals.Kept{Tag: "tag"}),
		"everybody's": func(x *index, nonce string) error {
			return x.MarkAll(ctx, principals.Mark{Nonce: nonce}, time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := server.Client().FlushAll(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			other := indexOn(t, server)
			x, lose := losing(t, server, "hset")
			done := make(chan error)
			go func() { done <- set(x, "first") }()
			in := func() string {
				own, all := other.marked(t)
				if name == "everybody's" {
					return all.Nonce
				}
				return own.Nonce
			}
			poll.Until(t, "the mark is set", func() bool { return in() == "first" })
			if err := set(other, "second"); err != nil {
				t.Fatal(err)
			}
			lose()
			if err := <-done; err == nil {
				t.Error("no error, though the reply was lost")
			}
			if nonce := in(); nonce != "second" {
				t.Errorf("the %s mark is in force after the second one", nonce)
			}
		})
	}
}

// hooked is called before commands are sent.
type hooked func(commands []redis.Cmder)

func (hooked) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hooked) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, c redis.Cmder) error { h([]redis.Cmder{c}); return next(ctx, c) }
}

func (h hooked) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, all []redis.Cmder) error { h(all); return next(ctx, all) }
}

// The sessions that a mark keeps depend on the mark that it replaces, also on one that comes while it is being set.
func TestAMarkThatComesBetween(t *testing.T) {
	ctx, server := context.Background(), redistest.Start(t)
	key, other := principals.KeyOf("ann"), indexOn(t, server)
	for _, c := range []struct{ before, between, want principals.Mark }{
		{want: principals.Mark{Kept: []principals.Kept{{Tag: "a"}, {Tag: "b"}}}},
		{between: principals.Mark{Nonce: "1"}, want: principals.Mark{Kept: []principals.Kept{{Tag: "a", Own: "1"}, {Tag: "b", Own: "1"}}}},
		{between: principals.Mark{Nonce: "1", Kept: []principals.Kept{{Tag: "b"}, {Tag: "c"}}}, want: principals.Mark{Kept: []principals.Kept{{Tag: "a", Own: "1"}, {Tag: "b"}}}},
		{before: principals.Mark{Nonce: "1", Kept: []principals.Kept{{Tag: "b"}}}, between: principals.Mark{Nonce: "2"},
			want: principals.Mark{Kept: []principals.Kept{{Tag: "a", Own: "2"}, {Tag: "b", Own: "2"}}}},
		{before: principals.Mark{Nonce: "1"}, between: principals.Mark{Nonce: "2", Kept: []principals.Kept{{Tag: "b"}}},
			want: principals.Mark{Kept: []principals.Kept{{Tag: "a", Own: "2"}, {Tag: "b", Own: "1"}}}},
	} {
		if err := server.Client().FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		set := func(m principals.Mark) {
			if err := other.markOwn(ctx, key, m, time.Hour); m.Nonce != "" && err != nil {
				t.Error(err)
			}
		}
		set(c.before)
		between := sync.OnceFunc(func() { set(c.between) })
		x := relayed(t, server, func(command []string) string {
			if command[0] == "exec" {
				between()
			}
			return ""
		})
		mark := principals.Mark{Nonce: "new", Reason: "r", Kept: []principals.Kept{{Tag: "a"}, {Tag: "b"}}}
		returned, err := x.Mark(ctx, key, mark, time.Hour)
		c.want.Nonce, c.want.Reason = mark.Nonce, mark.Reason
		if own, _ := x.marked(t); err != nil || !reflect.DeepEqual(own, c.want) || !reflect.DeepEqual(returned, c.want) {
			t.Errorf("after %v and %v: %v, returned %v, %v", c.before, c.between, own, returned, err)
		}
	}
}

// Marks are set at the same time: of two, one is after the other, so that what one hasn't kept isn't kept by the other.
func TestMarksThatAreSetAtOnce(t *testing.T) {
	const many = 12
	ctx, server := context.Background(), redistest.Start(t)
	key := principals.KeyOf("ann")
	var all sync.WaitGroup
	for n := range many {
		x := indexOn(t, server)
		all.Go(func() {
			kept := []principals.Kept{{Tag: fmt.Sprint("tag", n)}}
			if err := x.markOwn(ctx, key, principals.Mark{Nonce: fmt.Sprint("nonce", n), Kept: kept}, time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	own, _ := indexOn(t, server).marked(t)
	if len(own.Kept) != 1 || own.Kept[0].Own == "" || own.Kept[0].Own == own.Nonce {
		t.Errorf("the last mark is %v", own)
	}
}

// A mark lasts no shorter than the one that it replaces: the entry of a session that was ended and not removed is gone.
func TestAMarkLastsAsLongAsTheOneBefore(t *testing.T) {
	ctx, x := context.Background(), indexOn(t, redistest.Start(t))
	e := entryOf("ann", 0, 90*24*time.Hour)
	for _, kept := range [][]principals.Kept{nil, {{Tag: "tag"}}} {
		if err := errors.Join(x.Touch(ctx, []principals.Entry{e}), x.markOwn(ctx, e.Key, principals.Mark{Nonce: "1"}, time.Hour),
			x.Leave(ctx, []principals.Entry{e}), x.markOwn(ctx, e.Key, principals.Mark{Nonce: "2", Kept: kept}, time.Hour)); err != nil {
			t.Fatal(err)
		}
		until := lastsUntil(x.client.HGet(ctx, x.marksKey(x.ShardOf(e.Key)), string(e.Key[:])).Val())
		if left := time.Until(time.UnixMilli(until * 100)); left < e.TTL-time.Minute {
			t.Errorf("it lasts for %v", left)
		}
	}
}

// That holds also if the one before comes while a mark is being set.
func TestAMarkLastsAsLongAsOneThatComesBetween(t *testing.T) {
	ctx, server := context.Background(), redistest.Start(t)
	e, other := entryOf("ann", 0, 90*24*time.Hour), indexOn(t, server)
	between := sync.OnceFunc(func() {
		if err := errors.Join(other.Touch(ctx, []principals.Entry{e}), other.markOwn(ctx, e.Key, principals.Mark{Nonce: "1"}, time.Hour),
			other.Leave(ctx, []principals.Entry{e})); err != nil {
			t.Error(err)
		}
	})
	x := relayed(t, server, func(command []string) string {
		if command[0] == "watch" {
			between()
		}
		return ""
	})
	if err := x.markOwn(ctx, e.Key, principals.Mark{Nonce: "2", Kept: []principals.Kept{{Tag: "tag"}}}, time.Hour); err != nil {
		t.Fatal(err)
	}
	until := lastsUntil(x.client.HGet(ctx, x.marksKey(x.ShardOf(e.Key)), string(e.Key[:])).Val())
	if left := time.Until(time.UnixMilli(until * 100)); left < e.TTL-time.Minute {
		t.Errorf("it lasts for %v", left)
	}
}

// Where a command of its transaction is refused, a mark isn't in force, and the connection is of use afterwards.
func TestAMarkWhoseTransactionIsRefused(t *testing.T) {
	for _, refused := range []string{"watch", "multi", "hmget", "hset", "exec"} {
		ctx := context.Background()
		var off bool
		x := relayed(t, redistest.Start(t), func(command []string) string {
			if command[0] == refused && !off {
				return "-NOPERM this user has no permissions\r\n"
			}
			return ""
		})
		e := entryOf("ann", 0, time.Hour)
		err := x.markOwn(ctx, e.Key, principals.Mark{Nonce: "1", Kept: []principals.Kept{{Tag: "tag"}}}, time.Hour)
		if err == nil {
			t.Errorf("%s is refused: no error", refused)
		}
		off = true
		if own, _ := x.marked(t); own.Nonce != "" {
			t.Errorf("%s is refused: %v is in force", refused, own)
		}
		if err := errors.Join(x.Touch(ctx, []principals.Entry{e}), x.markOwn(ctx, e.Key, principals.Mark{Nonce: "2"}, time.Hour)); err != nil {
			t.Errorf("%s was refused: then %v", refused, err)
		}
	}
}

// losing is an index whose server executes commands of a name, and whose replies to them are lost once that is called.
func losing(t *testing.T, server *redistest.Server, name string) (x *index, lose func()) {
	t.Helper()
	proxy := redistest.StartProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: time.Minute}) // the reply is lost, and nothing else
	t.Cleanup(func() { _ = client.Close() })
	var stall sync.Once
	client.AddHook(hooked(func(commands []redis.Cmder) {
		if slices.ContainsFunc(commands, func(c redis.Cmder) bool { return c.Name() == name }) {
			stall.Do(proxy.StallAnswers)
		}
	}))
	return &index{Storage: New(client, Prefix("s:"))}, func() { proxy.Cut(); proxy.Resume() }
}

// A mark that keeps sessions waits for its slot where that moves to another master, and comes into force there.
func TestAMarkInAMovingSlot(t *testing.T) {
	ctx, cluster := context.Background(), redistest.StartCluster(t, 3)
	client := cluster.Client()
	x := &index{Storage: New(client, Prefix("s:"))}
	e, slot := principals.Entry{}, math.MaxInt
	for n := 0; slot > 5000; n++ { // those of the first master
		e = entryOf(fmt.Sprint("ann", n), 0, time.Hour)
		slot = int(client.ClusterKeySlot(ctx, x.entriesKey(e.Key)).Val())
	}
	finish := cluster.Linger(slot, cluster.Masters[0], cluster.Masters[1])
	watched, done := make(chan struct{}, 2), make(chan error)
	if err := client.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
		master.AddHook(hooked(func(commands []redis.Cmder) {
			if commands[0].Name() == "watch" {
				select {
				case watched <- struct{}{}:
				default:
				}
			}
		}))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	go func() {
		done <- x.markOwn(ctx, e.Key, principals.Mark{Nonce: "1", Kept: []principals.Kept{{Tag: e.Tag}}}, time.Hour)
	}()
	for range 2 { // attempts
		select {
		case err := <-done:
			t.Fatalf("while the slot moves: %v", err)
		case <-watched:
		}
	}
	finish()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if entered, err := x.Enter(ctx, e, 0); err != nil || entered.Own != "1" {
		t.Errorf("a session that begins after the mark %q, %v", entered.Own, err)
	}
}

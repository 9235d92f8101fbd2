package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// The server applies a commit, and its reply is lost. The command that is sent again overwrites
// nothing newer, and brings nothing back.
func TestALostAnswer(t *testing.T) { bothWays(t, loseAnAnswer) }

func loseAnAnswer(f *fixture) {
	other := f.open()
	update := func(s *redisstore.Storage, id string, change values) *tiers.Delta {
		base := f.base(s, id)
		data := base.Map()
		for key, value := range change {
			data[key] = value
		}
		return delta(tiers.Diff(base, data))
	}
	none := func(string) {}
	remove := func(id string) { f.check(other.RemoveAll(ctx, id)) }
	for _, c := range []struct {
		name      string
		is        string // before, "" for no session
		of        func(s *redisstore.Storage, id string) *tiers.Delta
		applied   string
		meanwhile func(id string)
		want      string
		err       error
	}{
		{"an update", `{"n":0}`, func(s *redisstore.Storage, id string) *tiers.Delta { return update(s, id, values{"n": 1}) },
			`{"n":1}`, none, `{"n":1}`, nil},
		{"an update that another node has read and changed", `{"n":0,"kept":1}`, func(s *redisstore.Storage, id string) *tiers.Delta { return update(s, id, values{"n": 1}) },
			`{"kept":1,"n":1}`, func(id string) { f.set(id, `{"kept":1,"n":2}`) }, `{"kept":1,"n":2}`, tiers.ErrConflict},
		{"an update beside another key's", `{"n":0}`, func(s *redisstore.Storage, id string) *tiers.Delta { return update(s, id, values{"n": 1}) },
			`{"n":1}`, func(id string) { f.set(id, `{"n":1,"other":2}`) }, `{"n":1,"other":2}`, nil},
		{"an update of a session that is removed", `{"n":0}`, func(s *redisstore.Storage, id string) *tiers.Delta { return update(s, id, values{"n": 1}) },
			`{"n":1}`, remove, "", tiers.ErrRevoked},
		{"a new key, and another log-in", `{"user":"a"}`, func(s *redisstore.Storage, id string) *tiers.Delta { return update(s, id, values{"cart": 1}) },
			`{"cart":1,"user":"a"}`, func(id string) { f.set(id, `{"user":"b"}`) }, `{"user":"b"}`, tiers.ErrConflict},
		{"a beginning session", "", func(*redisstore.Storage, string) *tiers.Delta { return delta(tiers.Add(values{"n": 1})) },
			`{"n":1}`, none, `{"n":1}`, nil},
		{"a beginning session that is removed", "", func(*redisstore.Storage, string) *tiers.Delta { return delta(tiers.Add(values{"n": 1})) },
			`{"n":1}`, remove, "", tiers.ErrConflict},
		{"a beginning session, and another log-in", "", func(*redisstore.Storage, string) *tiers.Delta {
			return delta(tiers.Add(values{"user": "a", "cart": 1}))
		},
			`{"cart":1,"user":"a"}`, func(id string) { f.set(id, `{"user":"b"}`) }, `{"user":"b"}`, tiers.ErrConflict},
		{"a replacement", `{"old":1}`, func(*redisstore.Storage, string) *tiers.Delta { return delta(tiers.Replace(values{"n": 1})) },
			`{"n":1}`, none, `{"n":1}`, nil},
		{"a replacement that is removed", `{"old":1}`, func(*redisstore.Storage, string) *tiers.Delta { return delta(tiers.Replace(values{"n": 1})) },
			`{"n":1}`, remove, "", tiers.ErrConflict},
	} {
		for _, way := range []string{"alone", "in a batch"} {
			f.Run(c.name+" "+way, func(t *testing.T) {
				f := &fixture{T: t, server: f.server, raw: f.raw}
				proxy := redistest.StartProxy(t, f.server.Addr())
				client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: time.Minute}) // the answer is lost, and nothing else
				t.Cleanup(func() { f.check(client.Close()) })
				p := &probe{}
				client.AddHook(p)
				s := redisstore.New(client)
				f.check(f.raw.FlushAll(ctx).Err())
				for _, warm := range []string{`{"w":0}`, `{"w":1}`} { // the server knows the script
					f.set("warm", warm)
					_, err := s.Commit(ctx, "warm", update(s, "warm", values{"w": 2}), ttl)
					f.check(err)
				}
				if c.is != "" {
					f.set("a", c.is)
				}
				d := c.of(s, "a")
				var stall sync.Once
				p.reset(func(_ int, commands string) {
					if strings.Contains(commands, "eval") || commands == "set exec" || d.Base() == nil && strings.Contains(commands, "set") {
						stall.Do(proxy.StallAnswers)
					}
				})
				done := make(chan error, 1)
				go func() {
					if way == "alone" {
						_, err := s.Commit(ctx, "a", d, ttl)
						done <- err
						return
					}
					done <- s.CommitAll(ctx, []tiers.Commit{{ID: "a", Delta: d, TTL: ttl}, {ID: "b", Delta: delta(tiers.Replace(values{"k": 1})), TTL: ttl}})[0].Err
				}()
				poll.Until(t, "the server has applied it", func() bool { return f.raw.Get(ctx, "a").Val() == c.applied })
				c.meanwhile("a")
				proxy.Cut()
				proxy.Resume()
				if err := <-done; !errors.Is(err, c.err) || c.err == nil && err != nil {
					t.Errorf("returned %v, want %v", err, c.err)
				}
				f.want("a", c.want)
			})
		}
	}
}

// A caller that repeats a write has to know whether it may have been applied.
func TestWhatReachedTheServer(t *testing.T) {
	f := start(t)
	add := delta(tiers.Add(values{"k": "v"}))
	commit := func(client *redis.Client) error {
		defer func() { f.check(client.Close()) }()
		s := redisstore.New(client)
		late, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := s.Commit(late, "new", add, ttl)
		if both := s.CommitAll(late, []tiers.Commit{{ID: "new", Delta: add, TTL: ttl}}); tiers.MayBeApplied(both[0].Err) != tiers.MayBeApplied(err) {
			t.Errorf("alone %v, in a batch %v", err, both[0].Err)
		}
		return err
	}
	silent := redistest.StartProxy(t, f.server.Addr())
	silent.Stall()
	for name, test := range map[string]struct {
		options redis.Options
		want    bool
	}{
		"nobody listens":      {redis.Options{Addr: "127.0.0.1:1", DialerRetries: 1}, false},
		"nobody shakes hands": {redis.Options{Addr: silent.Addr(), DialerRetries: 1}, false},
	} {
		test.options.MaxRetries, test.options.ReadTimeout = -1, 100*time.Millisecond
		if err := commit(redis.NewClient(&test.options)); err == nil || tiers.MayBeApplied(err) != test.want {
			t.Errorf("%s: MayBeApplied(%v) is %v", name, err, !test.want)
		}
	}
	for answer, want := range map[string]bool{
		"-OOM command not allowed":                               false,
		"-READONLY You can't write against a read only replica.": false,
		"-ERR Error running script (call to f_1): OOM":           false,
		"-ERR Connection timed out":                              true, // a proxy says so
		"-upstream failure":                                      true,
	} {
		addr := redistest.StartFake(t, func(args []string) string {
			switch args[0] {
			case "hello":
				return redistest.Hello3
			case "set":
				return answer + "\r\n"
			}
			return "+OK\r\n"
		})
		client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
		t.Cleanup(func() { _ = client.Close() })
		if _, err := redisstore.New(client).Commit(ctx, "new", add, ttl); err == nil || tiers.MayBeApplied(err) != want {
			t.Errorf("%s: MayBeApplied(%v) is %v", answer, err, !want)
		}
	}
}

// A cluster's redirections are followed, and what they refuse isn't taken for a lost answer.
func TestAMovingSlotTakesWrites(t *testing.T) {
	t.Run("by scripts", func(t *testing.T) { writeToAMovingSlot(t, startCluster(t), "") })
	t.Run("by transactions", func(t *testing.T) {
		writeToAMovingSlot(t, redistest.StartCluster(t, 3, scriptless...), "the session moves to another master")
	})
}

// writeToAMovingSlot wants this error, if any, until the slot has moved.
func writeToAMovingSlot(t *testing.T, cluster *redistest.Cluster, want string) {
	client := cluster.Client()
	s := redisstore.New(client)
	from, to := cluster.Masters[0], cluster.Masters[1]
	for n := 0; ; n++ {
		id := fmt.Sprint("id", n)
		slot := int(client.ClusterKeySlot(ctx, id).Val())
		if slot > 5000 { // those of the first master
			continue
		}
		if _, err := s.Commit(ctx, id, delta(tiers.Add(values{"n": 0})), ttl); err != nil {
			t.Fatal(err)
		}
		finish := cluster.Linger(slot, from, to) // clients that miss the key are redirected
		read, err := s.Load(ctx, id, ttl)
		if err != nil {
			t.Fatal(err)
		}
		change := delta(tiers.Diff(read.Snapshot, values{"n": 1}))
		switch _, err := s.Commit(ctx, id, change, ttl); {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("while the slot moves: %v", err)
		}
		finish()
		if _, err := s.Commit(ctx, id, change, ttl); err != nil {
			t.Errorf("a change after the slot has moved: %v", err)
		}
		results := s.CommitAll(ctx, []tiers.Commit{{ID: id, Delta: delta(tiers.Replace(values{"n": 2})), TTL: ttl}})
		if results[0].Err != nil {
			t.Errorf("after the slot has moved: %v", results[0].Err)
		}
		return
	}
}

package redisstore_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// everyPath is what each way of reading or writing a session returns: an error of each.
func everyPath(s *redisstore.Storage) map[string]error {
	errs := everyCall(s, secretID)
	base := tiers.Adopt(values{"k": "v"})
	errs["load all"] = s.LoadAll(ctx, []tiers.Reload{{ID: secretID}})[0].Err
	for n, c := range s.CommitAll(ctx, []tiers.Commit{
		{ID: secretID, Delta: delta(tiers.Replace(values{"k": "v"})), TTL: ttl},
		{ID: secretID, Delta: delta(tiers.Add(values{"k": "v"})), TTL: ttl},
		{ID: secretID, Delta: delta(tiers.Diff(base, values{"k": "w"})), TTL: ttl},
		{ID: secretID, Delta: delta(tiers.Diff(base, base.Map())), TTL: ttl},
	}) {
		errs["commit all, "+[]string{"replace", "create", "update", "unchanged"}[n]] = c.Err
	}
	return errs
}

// A reply that isn't a session's state is an error, and never a session that isn't there, a removal
// or a write that was made: everybody would be logged out, and others' sessions begun anew.
func TestNoErrorIsTakenForAnAbsentSession(t *testing.T) {
	refusing := func(line string) func([]string) string {
		return func(command []string) string {
			switch command[0] {
			case "hello", "auth", "select":
				return "-" + line + "\r\n"
			}
			return redistest.Silence
		}
	}
	always := func(answer string) func([]string) string {
		return func(command []string) string {
			switch command[0] {
			case "hello":
				return redistest.Hello3
			case "client", "select":
				return "+OK\r\n"
			}
			return answer
		}
	}
	wrongPassword := "WRONGPASS invalid username-password pair or user is disabled."
	for name, answer := range map[string]func([]string) string{
		"wrong password as it connects": refusing(wrongPassword),
		"no password as it connects":    refusing("NOAUTH Authentication required."),
		"no right as it connects":       refusing("NOPERM this user has no permissions to run the 'auth' command"),
		"loading as it connects":        refusing("LOADING Redis is loading the dataset in memory"),
		"too many clients":              refusing("ERR max number of clients reached"),
		"no such database": func(command []string) string {
			if command[0] == "select" {
				return "-ERR DB index is out of range\r\n"
			}
			return always("")(command)
		},
		"another server's word for it": func(command []string) string {
			if command[0] == "select" {
				return "-ERR SELECT is not allowed in cluster mode\r\n"
			}
			return always("")(command)
		},
		"a plan's limit":        always("-ERR max requests limit exceeded. Limit: 500000, Usage: 500000\r\n"),
		"keys of several slots": always("-CROSSSLOT Keys in request don't hash to the same slot\r\n"),
		"wrong password":        always("-" + wrongPassword + "\r\n"),
		"no password":           always("-NOAUTH Authentication required.\r\n"),
		"no right":              always("-NOPERM " + secretKey + "\r\n"),
		"loading":               always("-LOADING Redis is loading the dataset in memory\r\n"),
		"master down":           always("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n"),
		"cluster down":          always("-CLUSTERDOWN The cluster is down\r\n"),
		"moved to nowhere":      always("-MOVED 1 127.0.0.1:1\r\n"),
		"a proxy's words":       always("-upstream failure: " + secretValue + "\r\n"),
		"an error of one word":  always("-ERR\r\n"),
		"an error without text": always("-\r\n"),
		"an error in bulk":      always("!10\r\nERR failed\r\n"),
		"hung up":               always(""),
		"cut short":             always("$100\r\n{\"k\":" + redistest.HangUp),
		"an empty line":         always("\r\n"),
		"no RESP":               always("HTTP/1.1 502 Bad Gateway\r\n"),
		"empty text":            always("$0\r\n\r\n"),
		"a list":                always("*0\r\n"),
		"a list of an error":    always("*1\r\n-ERR failed\r\n"),
		"a map":                 always("%0\r\n"),
		"another number":        always(":7\r\n"),
		"another status":        always("+QUEUED\r\n"),
		"a truth":               always("#t\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := redis.NewClient(&redis.Options{Addr: redistest.StartFake(t, answer), Password: "p", DB: 1, MaxRetries: -1, DialerRetries: 1})
			t.Cleanup(func() { _ = client.Close() })
			for path, err := range everyPath(redisstore.New(client)) {
				if name == "empty text" && strings.HasSuffix(path, "update") {
					continue // what a script found: a key without a session
				}
				if err == nil || !strings.HasPrefix(err.Error(), "strata: redis: ") {
					t.Errorf("%s: %v", path, err)
				} else {
					private(t, err)
				}
			}
		})
	}
}

// mute hooks keep errors to themselves.
type mute struct{}

func (mute) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (mute) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { _ = next(ctx, cmd); return nil }
}

func (mute) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { _ = next(ctx, cmds); return nil }
}

// The same where a hook of the client's own returns no error.
func TestNoReplyIsAnError(t *testing.T) {
	f := start(t)
	f.check(f.raw.ConfigSet(ctx, "requirepass", "right").Err())
	client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), Password: "wrong"})
	t.Cleanup(func() { _ = client.Close() })
	client.AddHook(mute{})
	for path, err := range everyPath(redisstore.New(client)) {
		if err == nil {
			t.Errorf("%s: no error", path)
		} else {
			private(t, err)
		}
	}
}

// A password that was changed under a running program logs nobody out, and the sessions are
// as they were once it is right again.
func TestRotatedPassword(t *testing.T) {
	f := start(t)
	admin := f.server.Client()
	f.set(secretID, `{"k":"v"}`)
	f.check(admin.ConfigSet(ctx, "requirepass", "one").Err())
	s, err := redisstore.Open(strings.Replace(f.server.URL(), "//", "//:one@", 1))
	f.check(err)
	t.Cleanup(func() { f.check(s.Close(ctx)) })
	f.load(s, secretID)
	f.check(admin.ConfigSet(ctx, "requirepass", "another").Err())
	f.check(admin.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err())
	for path, err := range everyPath(s) {
		if err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	if m, err := s.GetSession(ctx, "made-up", ttl); err == nil {
		t.Errorf("GetSession of an id without session returns %v, nil", m)
	}
	f.check(admin.ConfigSet(ctx, "requirepass", "one").Err())
	if content := admin.Get(ctx, secretID).Val(); content != `{"k":"v"}` {
		t.Errorf("the server holds %s", content)
	}
	f.check(s.SetSession(ctx, secretID, gmap.NewStrAnyMapFrom(values{"k": "w"}, true), ttl))
}

// A cluster's nodes that want another password than the client's.
func TestRotatedPasswordOfACluster(t *testing.T) {
	c := startCluster(t)
	client := c.Client()
	s := redisstore.New(client)
	for n := range 9 {
		if err := client.Set(ctx, string(rune('a'+n)), `{"k":"v"}`, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range c.Masters {
		admin := m.Client()
		for _, args := range [][]any{{"config", "set", "requirepass", "another"}, {"client", "kill", "type", "normal", "skipme", "yes"}} {
			if err := admin.Do(ctx, args...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var loads []tiers.Reload
	for n := range 9 {
		loads = append(loads, tiers.Reload{ID: string(rune('a' + n))})
		if read, err := s.Load(ctx, loads[n].ID, ttl); err == nil {
			t.Errorf("Load returns %v, nil", read)
		}
	}
	for _, r := range s.LoadAll(ctx, loads) {
		if r.Err == nil {
			t.Errorf("LoadAll returns %v, nil", r.Read)
		}
	}
}

package layer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// Rented servers and proxies refuse commands. Without invalidations MaxStale bounds what memory
// serves, and one line of the log has the reason; what sessions need fails with an advice, and
// changes nothing.
func TestSessionsOfServersThatRefuseCommands(t *testing.T) {
	t.Parallel()
	const supported, unsupported = "supported", "MaxStale"
	to := func(reply string, words ...string) func([]string) string {
		return func(command []string) string {
			for n, word := range words {
				if n >= len(command) || command[n] != word {
					return ""
				}
			}
			return reply
		}
	}
	for name, test := range map[string]struct {
		instead func(command []string) string
		server  func(*testing.T, *redistest.Server) // what else is so
		mode    string
		reason  string // in the log
		begins  string // the error of a session's first write
		updates string // and of a later one
	}{
		"nothing is refused": {mode: supported},
		"a slow server": {
			instead: func([]string) string { <-time.After(5 * time.Millisecond); return "" }, mode: supported},
		"CLIENT TRACKING is unknown": {
			instead: to("-ERR Unknown subcommand or wrong number of arguments for 'tracking'\r\n", "client", "tracking"),
			mode:    unsupported, reason: "RESP3"},
		"CLIENT TRACKING is unknown, and keyspace notifications are on": {
			instead: to("-ERR Unknown subcommand or wrong number of arguments for 'tracking'\r\n", "client", "tracking"),
			server: func(t *testing.T, s *redistest.Server) {
				if err := s.Client().ConfigSet(context.Background(), "notify-keyspace-events", "Kg$xe").Err(); err != nil {
					t.Fatal(err)
				}
			}, mode: supported},
		"CLIENT is forbidden": {
			instead: to("-NOPERM this user has no permissions to run the 'client' command\r\n", "client"),
			mode:    unsupported, reason: "NOPERM"},
		"a plan without CLIENT": {
			instead: to("-ERR command 'client' is not allowed in this plan\r\n", "client"),
			mode:    unsupported, reason: "doesn't have, or allow, the command"},
		"HELLO is unknown": {
			instead: to("-ERR unknown command `hello`\r\n", "hello"), mode: unsupported, reason: "RESP3"},
		"RESP2 only": {
			instead: to("-NOPROTO unsupported protocol version\r\n", "hello"), mode: unsupported, reason: "RESP3"},
		"the server hangs up at CLIENT TRACKING": {
			instead: to(redistest.HangUp, "client", "tracking"), mode: unsupported, reason: "the server closed the connection"},
		"the server is silent at CLIENT TRACKING": {
			instead: to(redistest.Silence, "client", "tracking"), mode: unsupported, reason: "timed out"},
		"the user may not write canaries": {
			server: func(t *testing.T, s *redistest.Server) {
				// Sessions are set with PX and NX or by a script; the canary's key isn't allowed.
				if err := s.Client().Do(context.Background(), "acl", "setuser", "default", "resetkeys", "~p:a*").Err(); err != nil {
					t.Fatal(err)
				}
			}, mode: unsupported, reason: "NOPERM"},
		"scripts are forbidden": {
			instead: func(command []string) string {
				if strings.HasPrefix(command[0], "eval") {
					return "-ERR unknown command 'evalsha'\r\n"
				}
				return ""
			}, mode: supported},
		"scripts and transactions are forbidden": {
			instead: func(command []string) string {
				if strings.HasPrefix(command[0], "eval") || command[0] == "watch" {
					return "-ERR unknown command '" + command[0] + "'\r\n"
				}
				return ""
			}, mode: supported, updates: "it needs GET, GETRANGE, SET, DEL, PTTL and PEXPIRE, and EVAL"},
		"a replica": {
			server: func(t *testing.T, s *redistest.Server) {
				if err := s.Client().ReplicaOf(context.Background(), "127.0.0.1", "1").Err(); err != nil {
					t.Fatal(err)
				}
			}, mode: unsupported, reason: "replica", begins: "READONLY: the server is a replica", updates: "READONLY: the server is a replica"},
		"a node of a cluster": {
			instead: func(command []string) string {
				if command[0] == "set" || strings.HasPrefix(command[0], "eval") || command[0] == "del" {
					return "-MOVED 1 127.0.0.1:1\r\n"
				}
				return ""
			}, begins: "MOVED: the server is part of a cluster", updates: "MOVED: the server is part of a cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			server := redistest.Start(t)
			if err := server.Client().Set(ctx, "p:a0", `{"n":0}`, time.Hour).Err(); err != nil {
				t.Fatal(err)
			}
			if test.server != nil {
				test.server(t, server)
			}
			if test.instead == nil {
				test.instead = func([]string) string { return "" }
			}
			addr := redistest.StartRelay(t, server.Addr(), test.instead)
			node := func() (*gsession.Manager, *layer.Stack, interface{ String() string }) {
				client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
				t.Cleanup(func() { _ = client.Close() })
				traced, log := logged()
				chain := layer.Chain(redisstore.New(client, redisstore.Prefix("p:")), patientCoalesced(), patientLocal(), traced)
				t.Cleanup(func() { _ = chain.Close(ctx) })
				return gsession.New(time.Hour, chain), chain, log
			}
			here, chain, log := node()
			there, _, _ := node()
			write := func(m *gsession.Manager, id string, n int) error {
				s := m.New(ctx, id)
				if err := s.Set("n", n); err != nil {
					return err
				}
				return s.Close()
			}
			read := func(m *gsession.Manager, id string) (n int, err error) {
				value, err := m.New(ctx, id).Get("n")
				return value.Int(), err
			}
			refused := func(what string, err error, want string) bool {
				t.Helper()
				switch {
				case want == "" && err != nil:
					t.Errorf("%s: %v", what, err)
				case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
					t.Errorf("%s: %v, want %s", what, err, want)
				}
				return want != ""
			}
			sees := func(m *gsession.Manager, id string, want int) {
				t.Helper()
				if !poll.Try(func() bool { n, err := read(m, id); return err == nil && n == want }) {
					n, err := read(m, id)
					t.Errorf("a node reads %d, %v, want %d", n, err, want)
				}
			}

			sees(here, "a0", 0)
			sees(there, "a0", 0)
			refused("an update", write(here, "a0", 7), test.updates)
			if test.updates == "" {
				sees(there, "a0", 7)
			} else if content := server.Client().Get(ctx, "p:a0").Val(); content != `{"n":0}` {
				t.Errorf("the session is %s", content)
			}
			if !refused("a beginning", write(here, "a1", 1), test.begins) {
				sees(there, "a1", 1)
				if err := here.New(ctx, "a1").RemoveAll(); err != nil {
					t.Error(err)
				}
				sees(there, "a1", 0)
			}

			const line = "the store can't send invalidations, so that MaxStale bounds what is served from memory"
			if test.mode == unsupported {
				poll.Try(func() bool { return strings.Contains(log.String(), line) })
				if n := strings.Count(log.String(), line); n != 1 || !strings.Contains(log.String(), test.reason) {
					t.Errorf("%d lines, want one with %q: %s", n, test.reason, log)
				}
				return
			}
			if strings.Contains(log.String(), line) {
				t.Errorf("logged %s", log)
			}
			if test.mode == supported && !poll.Try(func() bool {
				r, err := chain.Unwrap().(loader).Load(ctx, "a0", time.Hour)
				return err == nil && r.Outcome.String() == "hit"
			}) {
				t.Error("nothing is served from memory")
			}
		})
	}
}

package architecture

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// The rights that docs/production.md lists suffice for a chain with an index, and without those of the
// second line for one that has none; those of the third line are for a cluster.
func TestTheListedRightsSuffice(t *testing.T) {
	t.Parallel()
	lines := regexp.MustCompile(`(?m)^ACL SETUSER app .*$`).FindAllString(read(t, "../../docs/production.md"), -1)
	if len(lines) != 3 {
		t.Fatalf("found %q", lines)
	}
	single, cluster := redistest.Start(t), redistest.StartCluster(t, 3)
	for _, test := range []struct {
		name    string
		servers []*redistest.Server
		indexed bool
		lines   []string
	}{
		{"plain", []*redistest.Server{single}, false, lines[:1]},
		{"indexed", []*redistest.Server{single}, true, lines[:2]},
		{"plain, in a cluster", cluster.Masters, false, []string{lines[0], lines[2]}},
		{"indexed, in a cluster", cluster.Masters, true, lines},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, indexed := context.Background(), test.indexed
			var addrs []string
			for _, server := range test.servers {
				addrs = append(addrs, server.Addr())
				for _, line := range slices.Concat([]string{"FLUSHALL", "ACL DELUSER app", "ACL LOG RESET"}, test.lines) {
					args := []any{}
					for _, word := range strings.Fields(line) {
						args = append(args, word)
					}
					if err := server.Client().Do(ctx, args...).Err(); err != nil {
						t.Fatal(err)
					}
				}
			}
			client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: addrs, Username: "app", Password: "secret"})
			t.Cleanup(func() { _ = client.Close() })
			decorators := []layer.Decorator{layer.Coalesced(), layer.Local()}
			if indexed {
				decorators = append(decorators, layer.Indexed(func(data map[string]any) string {
					user, _ := data["user"].(string)
					return user
				}, layer.Limit(2, layer.EndOldest)))
			}
			chain := layer.Chain(redisstore.New(client, redisstore.Prefix("app:")), decorators...)
			t.Cleanup(func() { _ = chain.Close(ctx) })

			manager := gsession.New(time.Hour, chain)
			for _, id := range []string{"1", "2", "3", "1"} {
				for _, key := range []string{"a", "b"} {
					request := manager.New(ctx, strings.Repeat(id, 16))
					if err := errors.Join(request.Set("user", "ann"), request.Set(key, id), request.Close()); err != nil && !errors.Is(err, layer.ErrRevoked) {
						t.Fatal(err)
					}
				}
			}
			if indexed {
				users := layer.Principals(chain)
				list, _, err := users.List(ctx, "ann", "")
				if err != nil || len(list) == 0 {
					t.Fatal(list, err)
				}
				_, _, allErr := users.All(ctx, "")
				_, updateErr := users.Update(ctx, "ann", func(s *layer.Changes) error { s.Set("role", "editor"); return nil })
				revokeErr := users.Revoke(ctx, list[0].Handle, layer.ReasonEndedByAdmin)
				_, revokeAllErr := users.RevokeAll(ctx, "ann", layer.ReasonPasswordChanged)
				if err := errors.Join(allErr, updateErr, revokeErr, revokeAllErr, users.RevokeEverybody(ctx, "leak")); err != nil {
					t.Fatal(err)
				}
			}
			if err := chain.RemoveAll(ctx, strings.Repeat("1", 16)); err != nil {
				t.Fatal(err)
			}
			if advice := layer.Advice(chain); len(advice) > 0 {
				t.Error(advice)
			}
			for _, server := range test.servers {
				log, err := server.Client().Do(ctx, "acl", "log").Slice()
				if err != nil {
					t.Fatal(err)
				}
				for _, entry := range log {
					fields, _ := entry.(map[any]any)
					// go-redis sends these on its own, and does without them.
					if command, _ := fields["object"].(string); !slices.Contains([]string{"client|setinfo", "client|maint_notifications"}, command) {
						t.Errorf("the user lacks +%v", fields["object"])
					}
				}
			}
		})
	}
}

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

// The rights that docs/production.md lists suffice for a chain with an index, and those of its first line
// for one without.
func TestTheListedRightsSuffice(t *testing.T) {
	t.Parallel()
	lines := regexp.MustCompile(`(?m)^ACL SETUSER app .*$`).FindAllString(read(t, "../../docs/production.md"), -1)
	if len(lines) != 2 {
		t.Fatalf("found %q", lines)
	}
	for _, indexed := range []bool{false, true} {
		ctx, server := context.Background(), redistest.Start(t)
		for n, line := range lines {
			if n == 0 || indexed {
				args := []any{}
				for _, word := range strings.Fields(line) {
					args = append(args, word)
				}
				if err := server.Client().Do(ctx, args...).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "app", Password: "secret"})
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
			t.Errorf("indexed %t: %v", indexed, advice)
		}
		// go-redis sends these on its own, and does without them.
		log, err := server.Client().Do(ctx, "acl", "log").Slice()
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range log {
			fields, _ := entry.(map[any]any)
			if command, _ := fields["object"].(string); !slices.Contains([]string{"client|setinfo", "client|maint_notifications"}, command) {
				t.Errorf("indexed %t: the user lacks +%v", indexed, fields["object"])
			}
		}
	}
}

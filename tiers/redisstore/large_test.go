package redisstore_test

import (
	"strings"
	"testing"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// A change that is larger than the server takes gets an error that says where to look, and the next one goes on.
func TestAChangeThatIsLargerThanTheServerTakes(t *testing.T) {
	for _, limit := range []string{"--proto-max-bulk-len", "--client-query-buffer-limit"} {
		s := redisstore.New(redistest.Start(t, limit, "1mb").Client())
		if err := s.SetSession(t.Context(), "a", gmap.NewStrAnyMapFrom(map[string]any{"k": 1}), ttl); err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{5 << 20, 10} {
			m, err := s.GetSession(t.Context(), "a", ttl)
			if err != nil || m == nil {
				t.Fatal(m, err)
			}
			m.Set("text", strings.Repeat("x", size))
			err = s.SetSession(t.Context(), "a", m, ttl)
			if size > 1<<20 {
				if err == nil || !strings.Contains(err.Error(), "proto-max-bulk-len") {
					t.Errorf("%s: a change of %d bytes gets %v", limit, size, err)
				}
			} else if err != nil {
				t.Errorf("%s: the change after it gets %v", limit, err)
			}
		}
	}
}

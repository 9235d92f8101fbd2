package redisstore_test

import (
	"strings"
	"testing"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// TestAnyIDIsAKeyOfItsOwn includes what means something to a shell, a file system
// or Redis.
func TestAnyIDIsAKeyOfItsOwn(t *testing.T) {
	f := start(t)
	ids := []string{
		"/", "..", "../x", "\x00", "a\x00b", "\n", "a\r\nDEL b", "*", "?", "[a]", "a*", "\\", "{", "}", "{}", "{a}b",
		" ", "'", `"`, "$(x)", "ä", "\xff\xfe", "%s", "a:b", strings.Repeat("x", tiers.MaxID),
	}
	for _, prefix := range []string{"", redisstore.DefaultPrefix, "*", "{tag}"} {
		f.check(f.raw.FlushAll(ctx).Err())
		s := f.open(redisstore.Prefix(prefix))
		for n, id := range ids {
			m, err := s.GetSession(ctx, id, ttl)
			if err != nil || m != nil {
				t.Fatalf("%.20q: a session before there is one: %v, %v", id, m, err)
			}
			f.write(s, id, n)
		}
		for n, id := range ids {
			if got := f.load(s, id).Get("n"); got == nil || got.(interface{ String() string }).String() != itoa(n) {
				t.Errorf("%.20q: holds the session %v", id, got)
			}
			f.want(prefix+id, `{"n":`+itoa(n)+`}`)
		}
		for n, id := range ids {
			f.check(s.RemoveAll(ctx, id))
			if left := f.raw.DBSize(ctx).Val(); left != int64(len(ids)-n-1) {
				t.Fatalf("%.20q: %d keys are left", id, left)
			}
		}
	}
}

func TestImpossibleIDs(t *testing.T) {
	f := start(t)
	s := f.open()
	for _, id := range []string{"", strings.Repeat("x", tiers.MaxID+1)} {
		want := tiers.CheckID(id)
		for call, err := range everyCall(s, id) {
			if call == "get" {
				if err != nil { // no session has it
					t.Errorf("%s: %v", call, err)
				}
			} else if err == nil || err.Error() != want.Error() {
				t.Errorf("%s: %v", call, err)
			}
		}
	}
	if f.raw.DBSize(ctx).Val() != 0 {
		t.Error("something was written")
	}
}

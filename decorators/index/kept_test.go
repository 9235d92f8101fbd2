package index

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/principals"
)

// A session that is kept when all others are ended lives if it has lived until then: whatever comes later, one that was
// ended stays over, also where it couldn't be removed.
func TestASessionThatWasEndedIsNotKept(t *testing.T) {
	const first, second, third = "first-0123456789", "second-0123456789", "third-0123456789"
	for name, test := range map[string]struct {
		ends []string // one after the other: which session is kept each time, "" for none
		live string
	}{
		"it is kept":                     {[]string{first}, first},
		"it is kept twice":               {[]string{first, first, first}, first},
		"it is kept too late":            {[]string{"", first}, ""},
		"it is kept, and too late":       {[]string{first, "", first}, ""},
		"another one is kept meanwhile":  {[]string{first, second, first}, ""},
		"a newer one is kept":            {[]string{first, third}, third},
		"a newer one is kept twice":      {[]string{first, third, third}, third},
		"an older one after a newer one": {[]string{first, third, first}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, s := context.Background(), node(t)
			handles := map[string]string{}
			begin := func(id string) {
				logIn(t, s, id)
				handle, err := s.Principals().Handle(ctx, id)
				if err := errors.Join(err, s.Flush(ctx)); err != nil || handle == "" {
					t.Fatal(handle, err)
				}
				handles[id] = handle
				s.indexer.(*memory).entries = map[principals.Key]*principal{} // none is removed as it is found here
			}
			begin(first)
			begin(second)
			for n, kept := range test.ends {
				var keep []string
				if kept != "" {
					keep = []string{handles[kept]}
				}
				if _, err := s.Principals().RevokeAll(ctx, "ann", "r", keep); err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					begin(third)
				}
			}
			for _, id := range []string{first, second} {
				if lives := isAnns(t, s, id); lives != (id == test.live) {
					t.Errorf("%s lives: %t", id, lives)
				}
			}
			if lives := isAnns(t, s, third); lives != (test.live == third || len(test.ends) == 1) {
				t.Errorf("%s lives: %t", third, lives)
			}
		})
	}
}

// unlucky is an index whose first mark fails as a call that an open circuit refuses does: with no mark.
type unlucky struct {
	*memory
	failed bool
}

func (u *unlucky) Mark(ctx context.Context, key principals.Key, mark principals.Mark, lasts time.Duration) (principals.Mark, error) {
	if !u.failed {
		u.failed = true
		return principals.Mark{}, context.DeadlineExceeded
	}
	return u.memory.Mark(ctx, key, mark, lasts)
}

// The second attempt of a mark keeps what the first one was to keep, and has its reason.
func TestASecondAttemptKeepsTheSame(t *testing.T) {
	ctx, s := context.Background(), node(t)
	s.indexer = &unlucky{memory: s.indexer.(*memory)}
	ids := []string{"first-0123456789", "second-0123456789"}
	for _, id := range ids {
		logIn(t, s, id)
	}
	handle, err := s.Principals().Handle(ctx, ids[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Principals().RevokeAll(ctx, "ann", "r", []string{handle}); err != nil {
		t.Fatal(err)
	}
	reason, err := s.Principals().ReasonOf(ctx, ids[1])
	if !isAnns(t, s, ids[0]) || isAnns(t, s, ids[1]) || reason != "r" || err != nil {
		t.Errorf("the first one lives: %t, the second one: %t, reason %q, %v", isAnns(t, s, ids[0]), isAnns(t, s, ids[1]), reason, err)
	}
}

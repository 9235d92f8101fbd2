package index

import (
	"context"
	"errors"
	"testing"

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

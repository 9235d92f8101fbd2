package local

import (
	"context"

	"github.com/gf-strata/strata/tiers"
)

var _ tiers.Adviser = (*Storage)(nil)

// Advise says whether the store's changes are announced. It asks nobody.
func (s *Storage) Advise(context.Context) []tiers.Advice {
	if sources, supported := s.watch.state(); sources == 0 || supported {
		return nil
	}
	return []tiers.Advice{{Topic: "tracking", Text: "the store announces no changes, so that this node notices what others write only after MaxStale; " +
		"the log says what the server refused, such as CLIENT TRACKING"}}
}

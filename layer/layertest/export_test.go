package layertest

import (
	"errors"
	"testing"

	"github.com/gogf/gf/v2/os/gsession"
)

// Law is a law's number and name, with the names of its checks.
type Law struct {
	Number int
	Name   string
	Checks []string
}

func Laws() (all []Law) {
	for _, l := range laws() {
		law := Law{Number: l.number, Name: l.name}
		for _, c := range l.checks {
			law.Checks = append(law.Checks, c.name)
		}
		all = append(all, law)
	}
	return all
}

// Verify runs one check, or a whole law if the name is empty, and returns what Run would report.
func Verify(t *testing.T, number int, name string, open func(t *testing.T) gsession.Storage, opts ...Option) error {
	t.Helper()
	if !known(number, name) {
		t.Fatalf("law %d has no check %q", number, name)
	}
	config := newConfig(open, opts)
	var errs []error
	for _, l := range laws() {
		for _, c := range l.checks {
			if _, excepted := config.exception(l.number, c.name); excepted || l.number != number || name != "" && c.name != name {
				continue
			}
			if err := c.verify(t, config); err != nil && !errors.As(err, new(lacking)) {
				errs = append(errs, errors.New(l.report(c, err)))
			}
		}
	}
	return errors.Join(errs...)
}

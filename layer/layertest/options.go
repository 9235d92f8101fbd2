package layertest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
)

// Option says something of the storage that the suite can't find out, or provides a check with storages.
type Option func(*config)

type config struct {
	open       func(*testing.T) gsession.Storage
	nodes      func(*testing.T) (a, b gsession.Storage)
	bare       func(*testing.T) gsession.Storage
	wrapped    func(*testing.T, func(gsession.Storage) gsession.Storage) gsession.Storage
	revoked    error
	maxStale   time.Duration
	precision  time.Duration
	deferred   bool
	reserved   string
	exceptions []exception

	asked  sync.Once // sets perKey
	perKey bool      // whether calls of single keys work
}

type exception struct {
	law   int
	check string
	why   string
}

func newConfig(open func(*testing.T) gsession.Storage, opts []Option) *config {
	c := &config{open: open, maxStale: time.Second, precision: time.Millisecond}
	for _, opt := range opts {
		opt(c)
	}
	return c
}

func (c *config) exception(law int, check string) (why string, ok bool) {
	for _, e := range c.exceptions {
		if e.law == law && (e.check == "" || e.check == check) {
			return e.why, true
		}
	}
	return "", false
}

// Nodes provides two storages on one store, as two processes have them.
func Nodes(open func(t *testing.T) (a, b gsession.Storage)) Option {
	return func(c *config) { c.nodes = open }
}

// Bare provides the store without layers, for a comparison of results. Each call opens a new store.
func Bare(open func(t *testing.T) gsession.Storage) Option {
	return func(c *config) { c.bare = open }
}

// Wrapped provides the layers on a store that the suite has wrapped, so that it can count the calls
// of the store and make them fail.
func Wrapped(open func(t *testing.T, wrap func(store gsession.Storage) gsession.Storage) gsession.Storage) Option {
	return func(c *config) { c.wrapped = open }
}

// Revoked is the error of a write of a session that was removed. Any error
// will do unless it is set.
func Revoked(err error) Option {
	return func(c *config) { c.revoked = err }
}

// MaxStale is how long a node may serve a state that another has overwritten; 1 s unless set. It
// panics outside 0 to 1 h, as Precision does.
func MaxStale(d time.Duration) Option {
	mustWait("MaxStale", d)
	return func(c *config) { c.maxStale = d }
}

// Precision is the smallest time to live that the store keeps; 1 ms unless set.
func Precision(d time.Duration) Option {
	mustWait("Precision", d)
	return func(c *config) { c.precision = d }
}

func mustWait(option string, d time.Duration) {
	if d < 0 || d > time.Hour {
		panic(fmt.Sprintf("strata: layertest.%s(%v) can't be waited for; pass 0 to 1 h", option, d))
	}
}

// Deferred says that the storage returns from writes before its store has them. Checks with
// two nodes then call Flush(context.Context) error of both before each request, and a
// write that the store refuses is looked for once it takes writes again.
func Deferred() Option {
	return func(c *config) { c.deferred = true }
}

// Reserved is a key under which the storage keeps something of its own in a session, and which it
// hides from requests. It shows where the suite looks at the store below.
func Reserved(key string) Option {
	return func(c *config) { c.reserved = key }
}

// Except leaves one check of a law out, or the whole law if check is empty, and logs why in the test's
// output. It panics if there is no such law or check.
func Except(law int, check, why string) Option {
	if !known(law, check) {
		panic(fmt.Sprintf("strata: layertest.Except(%d, %q): there is no such law or check; the documentation of package layertest lists them", law, check))
	}
	return func(c *config) { c.exceptions = append(c.exceptions, exception{law, check, why}) }
}

// known reports whether there is such a law and, unless it is empty, such a check.
func known(number int, name string) bool {
	return slices.ContainsFunc(laws(), func(l law) bool {
		return l.number == number && (name == "" || slices.ContainsFunc(l.checks, func(c check) bool { return c.name == name }))
	})
}

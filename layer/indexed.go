package layer

import (
	"context"
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/index"
)

// IndexedOption sets up Indexed.
type IndexedOption func(*index.Options)

// Indexed knows whose the sessions are, for [Principals], which lists, limits, ends and changes
// them. principal returns whose a session with the given data is, "" for none; it is called often,
// and must not change the data. It has to find the same principal in what comes back from the store, where numbers may be
// json.Number and structs maps: a log-in is refused otherwise, as nothing would end its session. Over RedisHashTable with Snapshots, or
// a store of your own that is no tiers.Previewer, that isn't known before the log-in, and nothing is refused. A principal is UTF-8
// of 1,024 bytes at most: a commit that would log in another is refused. Where it is nil, or returns "", it is the principal that web.Login
// was given.
//
// The index is where the sessions are, if the store keeps one, as redisstore does: it needs transactions (MULTI), and where
// Redis forbids them, log-ins return an error that says so. In front of any other store it is in the process, of its sessions
// and marks alone, and gone when that ends.
//
// A session in which a principal appears, or another one, is entered in the index, in one round trip, by
// which [Limit] is decided; the session then holds what it needs under a key of its own, which the
// chain hides. A request that reads asks the store for nothing more. Put Indexed above Local. Over a direct store it needs
// [Snapshots]: without, each write returns an error that says so.
func Indexed(principal func(data map[string]any) string, opts ...IndexedOption) Decorator {
	options := index.Defaults()
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of layer.Indexed is nil; pass what a constructor returns, such as layer.Limit(3, layer.EndOldest)")
		}
		opt(&options)
	}
	return func(inner gsession.Storage) gsession.Storage { return index.New(inner, principal, options) }
}

// IndexedKey is the key of a session under which [Indexed] keeps what it needs. The chain hides it;
// it shows where the store is read without the chain.
const IndexedKey = index.Key

// AtLimit says how a log-in beyond the limit is treated.
type AtLimit uint8

// The ways to treat a log-in beyond the limit.
const (
	EndOldest AtLimit = iota + 1 // the sessions that began first are ended, with ReasonDisplaced
	RefuseNew                    // it is refused with ErrLimit
)

// LimitOption changes a Limit.
type LimitOption func(*index.Limit)

// ErrLimit is what a commit returns that would log a principal in beyond Limit with RefuseNew.
// Nothing was written.
var ErrLimit error = index.ErrLimit

// mostLimit is far below what a log-in looks at.
const mostLimit = 1000

// Limit bounds the sessions of a principal, to 1 to 1,000; there is no bound unless set. It holds across all nodes,
// however many log in at once. A session that goes on under another id stays one. If very many are
// beyond a limit, as of one that has just been introduced, a log-in ends 512 of them, and the next ones the others. If a principal has more than 4,096 sessions, a log-in looks at the 4,096 that end
// first, if they aren't used: the oldest of these are ended, and PerDeviceClass counts these.
func Limit(n int, at AtLimit, opts ...LimitOption) IndexedOption {
	if n < 1 || n > mostLimit {
		panic(fmt.Sprintf("strata: layer.Limit(%d, …) is no number of sessions from 1 to 1,000; pass one, or leave it out for no limit", n))
	}
	if at != EndOldest && at != RefuseNew {
		panic("strata: layer.Limit needs to know what to do beyond it; pass layer.EndOldest or layer.RefuseNew")
	}
	limit := index.Limit{Most: n, Refuse: at == RefuseNew}
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of layer.Limit is nil; pass layer.PerDeviceClass(), or none")
		}
		opt(&limit)
	}
	return func(o *index.Options) { o.Limit = limit }
}

// PerDeviceClass has Limit count each device class by itself: see [DescribedDevice].
func PerDeviceClass() LimitOption { return func(l *index.Limit) { l.PerClass = true } }

// KeepReasons is how long it is known why a session has ended, a second at least; 10 minutes unless set.
func KeepReasons(d time.Duration) IndexedOption {
	if d < time.Second {
		panic(fmt.Sprintf("strata: layer.KeepReasons needs a second at least, not %v; leave it out for 10 minutes", d))
	}
	return func(o *index.Options) { o.KeepReasons = d }
}

// LongestSession is how long a session may live between two requests at most, a second at least; 30 days unless set.
// For so long at least it is remembered that a principal's sessions were ended; longer if the index knows
// one that lives longer.
func LongestSession(d time.Duration) IndexedOption {
	if d < time.Second {
		panic(fmt.Sprintf("strata: layer.LongestSession needs a second at least, not %v; leave it out for 30 days", d))
	}
	return func(o *index.Options) { o.LongestSession = d }
}

// The keys of the description that layer/web gives a session, unless web.Describe says otherwise.
const (
	DescribedDevice = index.Device // the device class, such as "desktop", "mobile" or "tablet"; [PerDeviceClass] counts by it
	DescribedIP     = "ip"         // the client's address, shortened
)

// WithDescription says what a session that begins in the context is listed with: 1,024 bytes of
// JSON at most. web.Sessions does so.
func WithDescription(ctx context.Context, described map[string]string) context.Context {
	return index.WithDescription(ctx, described)
}

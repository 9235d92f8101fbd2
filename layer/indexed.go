package layer

import (
	"context"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/index"
)

// IndexedOption sets up Indexed.
type IndexedOption = index.Option

// Indexed knows whose the sessions are, for [Principals], which lists, limits, ends and changes
// them. principal returns whose a session with the given data is, "" for none; it is called often,
// and must not change the data. Where it is nil, or returns "", it is the principal that web.Login
// was given.
//
// The index is where the sessions are, if the store keeps one, as redisstore does. In front of any
// other store it is in the process, of its sessions and marks alone, and gone when that ends.
//
// A session in which a principal appears, or another one, is entered in the index, in one command
// that also decides [Limit]; the session then holds what it needs under a key of its own, which the
// chain hides. A request that reads asks the store for nothing more. Put Indexed above Local.
func Indexed(principal func(data map[string]any) string, opts ...IndexedOption) Decorator {
	return func(inner gsession.Storage) gsession.Storage { return index.New(inner, principal, opts...) }
}

// IndexedKey is the key of a session under which [Indexed] keeps what it needs. The chain hides it;
// it shows where the store is read without the chain.
const IndexedKey = index.Key

// The ways to treat a log-in beyond the limit.
const (
	EndOldest = index.EndOldest // the sessions that began first are ended, with ReasonDisplaced
	RefuseNew = index.RefuseNew // it is refused with ErrLimit
)

// ErrLimit is what a commit returns that would log a principal in beyond Limit with RefuseNew.
// Nothing was written.
var ErrLimit error = index.ErrLimit

// Limit bounds the sessions of a principal; there is no bound unless set. It holds across all nodes,
// however many log in at once. A session that goes on under another id stays one.
func Limit(n int, at index.AtLimit, opts ...index.LimitOption) IndexedOption {
	return index.Limit(n, at, opts...)
}

// PerDeviceClass has Limit count each device class by itself: see [DescribedDevice].
func PerDeviceClass() index.LimitOption { return index.PerDeviceClass() }

// KeepReasons is how long it is known why a session has ended; 10 minutes unless set.
func KeepReasons(d time.Duration) IndexedOption { return index.KeepReasons(d) }

// LongestSession is how long a session may live between two requests at most; 30 days unless set.
// For so long it is remembered that a principal's sessions were ended.
func LongestSession(d time.Duration) IndexedOption { return index.LongestSession(d) }

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

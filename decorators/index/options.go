package index

import (
	"context"
	"fmt"
	"time"

	"github.com/gf-strata/strata/internal/principals"
)

// Option sets up an index.
type Option func(*options)

type options struct {
	limit   principals.Limit
	reasons time.Duration
	marks   time.Duration
}

const (
	defaultReasons = 10 * time.Minute
	defaultMarks   = 30 * 24 * time.Hour
)

// AtLimit says what happens to a log-in beyond the limit.
type AtLimit uint8

// The ways.
const (
	EndOldest AtLimit = iota + 1
	RefuseNew
)

// LimitOption changes a limit.
type LimitOption func(*principals.Limit)

// Limit bounds the sessions of a principal.
func Limit(n int, at AtLimit, opts ...LimitOption) Option {
	if n < 1 {
		panic(fmt.Sprintf("strata: layer.Limit(%d, …) leaves nobody a session; pass 1 or more, or leave it out for no limit", n))
	}
	if at != EndOldest && at != RefuseNew {
		panic("strata: layer.Limit needs to know what to do beyond it; pass layer.EndOldest or layer.RefuseNew")
	}
	limit := principals.Limit{Most: n, Refuse: at == RefuseNew}
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of layer.Limit is nil; pass layer.PerDeviceClass(), or none")
		}
		opt(&limit)
	}
	return func(o *options) { o.limit = limit }
}

// PerDeviceClass bounds the sessions of each device class by itself.
func PerDeviceClass() LimitOption { return func(l *principals.Limit) { l.PerClass = true } }

// KeepReasons is how long it is known why a session has ended.
func KeepReasons(d time.Duration) Option {
	if d < time.Second {
		panic(fmt.Sprintf("strata: layer.KeepReasons needs a second at least, not %v; leave it out for 10 minutes", d))
	}
	return func(o *options) { o.reasons = d }
}

// LongestSession is how long a session may live between two requests at most.
func LongestSession(d time.Duration) Option {
	if d < time.Second {
		panic(fmt.Sprintf("strata: layer.LongestSession needs a second at least, not %v; leave it out for 30 days", d))
	}
	return func(o *options) { o.marks = d }
}

// Device is the part of a description that is the device class.
const Device = "device"

type (
	describedKey struct{}
	reasonKey    struct{}
)

// WithDescription says what a session that begins in the context is to be listed with. The
// context holds a func, so that what dumps contexts finds nothing of it.
func WithDescription(ctx context.Context, described map[string]string) context.Context {
	return context.WithValue(ctx, describedKey{}, func() map[string]string { return described })
}

func descriptionOf(ctx context.Context) map[string]string {
	if described, ok := ctx.Value(describedKey{}).(func() map[string]string); ok {
		return described()
	}
	return nil
}

// WithReason says why a session that is removed in the context ends.
func WithReason(ctx context.Context, reason principals.Reason) context.Context {
	return context.WithValue(ctx, reasonKey{}, reason)
}

func reasonOf(ctx context.Context) (reason principals.Reason, given bool) {
	reason, given = ctx.Value(reasonKey{}).(principals.Reason)
	return reason, given
}

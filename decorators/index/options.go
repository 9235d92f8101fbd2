package index

import (
	"context"
	"time"

	"github.com/gf-strata/strata/internal/principals"
)

// Limit bounds a principal's sessions. Most is 0 for no bound.
type Limit struct {
	Most     int
	Refuse   bool // a new session, and not end the oldest ones
	PerClass bool
}

// Options set up an index; layer.Indexed's options set them.
type Options struct {
	Limit          Limit
	KeepReasons    time.Duration // how long it is known why a session has ended
	LongestSession time.Duration // how long a session may live between two requests at most
}

// Defaults are the options of layer.Indexed without any.
func Defaults() Options {
	return Options{KeepReasons: 10 * time.Minute, LongestSession: 30 * 24 * time.Hour}
}

// Device is the part of a description that is the device class.
const Device = "device"

type (
	describedKey struct{}
	reasonKey    struct{}
	lookKey      struct{}
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

// WithLook says that a session which is read in the context isn't in use by that.
func WithLook(ctx context.Context) context.Context { return context.WithValue(ctx, lookKey{}, true) }

func isLook(ctx context.Context) bool { return ctx.Value(lookKey{}) != nil }

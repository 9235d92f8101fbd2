package coalesce

import (
	"fmt"
	"time"
)

// Option sets up the merging of writes. An impossible value panics when the option
// is made.
type Option func(*options)

type options struct{ writeTimeout time.Duration }

func defaults() options { return options{writeTimeout: 5 * time.Second} }

// WriteTimeout is how long a caller waits for its commit at most; 5 s unless set. The
// store is given that long as well, if it heeds its context.
func WriteTimeout(d time.Duration) Option {
	if d <= 0 {
		panic(fmt.Sprintf("strata: layer.WriteTimeout(%v) leaves no time to write; pass a positive duration", d))
	}
	return func(o *options) { o.writeTimeout = d }
}

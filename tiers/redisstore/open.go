package redisstore

import (
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
)

// Time-outs of a client that Open makes, unless the url sets them.
const (
	dialTimeout = 2 * time.Second
	ioTimeout   = 3 * time.Second
	poolTimeout = 4 * time.Second
)

var errURL = tiers.NewError("strata: redisstore.Open can't read the url; "+
	"write redis://user:password@host:6379/0, rediss:// for TLS, or unix://user:password@/path/to/socket?db=0", nil)

// Open makes a storage with a client of its own, of a url as redis.ParseURL takes
// it. It connects when it is first used. Close it when the program ends, after the
// chain.
//
// Contexts' deadlines hold while a command is under way. Connecting may take 2 s,
// each read and write 3 s, waiting for a free connection 4 s; a command is sent again
// once after a fault of the network, a commit only as far as that overwrites nothing newer. The url may set dial_timeout, read_timeout,
// write_timeout, pool_timeout and max_retries, among others.
//
// An error doesn't show the url, which may hold a password. For a cluster or
// sentinels, make the client and use New.
func Open(url string, opts ...Option) (*Storage, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errURL // err quotes the url
	}
	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1 // a command's own retry dials again
	orElse(&o.DialTimeout, dialTimeout)
	orElse(&o.ReadTimeout, ioTimeout)
	orElse(&o.WriteTimeout, ioTimeout)
	orElse(&o.PoolTimeout, poolTimeout)
	orElse(&o.MaxRetries, 1)
	s := New(redis.NewClient(o), opts...)
	s.owned = true
	return s, nil
}

func orElse[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

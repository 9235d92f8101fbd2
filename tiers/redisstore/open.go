package redisstore

import (
	"fmt"
	"time"

	"github.com/gogf/gf/v2/database/gredis"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/value"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
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

// FromGoFrame makes a storage on the connections of a GoFrame client, such as
// g.Redis(), which stays the caller's to close. It panics where the client isn't
// made by github.com/gogf/gf/contrib/nosql/redis/v2.
//
// The storage talks to the server without GoFrame's adapter, whose spans carry whole sessions. That adapter
// sets no time-outs unless its configuration does, and a server that hangs would hold every request; where it
// has set none, reads and writes end after 3 s here. For a cluster the storage then makes connections of its
// own, as the configuration says: close it when the program ends. Behind sentinels, set readTimeout in the
// configuration: a sentinel that hangs would hold up all new connections. The deadline of a context isn't
// looked at while a command is under way, as it is by the client that Open makes.
func FromGoFrame(client *gredis.Redis, opts ...Option) *Storage {
	const instead = `import _ "github.com/gogf/gf/contrib/nosql/redis/v2" and pass g.Redis() with its configuration, or use redisstore.New with a go-redis client`
	if client == nil || client.GetAdapter() == nil {
		panic("strata: redisstore.FromGoFrame needs a client; " + instead)
	}
	raw := client.GetAdapter().Client()
	universal, ok := raw.(redis.UniversalClient)
	if !ok || value.IsNil(raw) {
		panic(fmt.Sprintf("strata: redisstore.FromGoFrame can't use an adapter on %T; %s", raw, instead))
	}
	if c, ok := universal.(*redis.ClusterClient); ok && c.Options().ReadTimeout <= 0 {
		s := New(redis.NewClusterClient(boundedOptions(c)), opts...)
		s.owned = true
		return s
	}
	c, ok := universal.(*redis.Client)
	if !ok || c.Options().ReadTimeout > 0 {
		return New(universal, opts...)
	}
	s := New(c.WithTimeout(ioTimeout), opts...)
	s.waits = tracking.IsBehindSentinels(c.Options())
	return s
}

// boundedOptions returns the options of a cluster's client, with the time-outs that it lacks.
func boundedOptions(c *redis.ClusterClient) *redis.ClusterOptions {
	o := *c.Options()
	o.ReadTimeout, o.WriteTimeout = ioTimeout, ioTimeout
	// None is 0 once options are in use, and the default where they are passed.
	orElse(&o.MaxRedirects, -1)
	orElse(&o.MinRetryBackoff, -1)
	orElse(&o.MaxRetryBackoff, -1)
	return &o
}

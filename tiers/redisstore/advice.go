package redisstore

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
)

var _ tiers.Adviser = (*Storage)(nil)

// Advise looks at the client's options and, by one INFO, at the server. What the user may not
// ask is left out.
func (s *Storage) Advise(ctx context.Context) (all []tiers.Advice) {
	add := func(topic, text string) { all = append(all, tiers.Advice{Topic: topic, Text: text}) }
	if s.prefix == "" {
		add("prefix", "session ids are keys of the database as they are, so that an id which a client makes up can name any key; "+
			"give redisstore a Prefix, unless StorageRedis has used these keys without one")
	}
	switch client := s.client.(type) {
	case *redis.Client:
		o := client.Options()
		timeouts(o.ReadTimeout > 0, o.ContextTimeoutEnabled, add)
		if o.Protocol == 2 {
			add("protocol", "the client asks for RESP2; leave Protocol at 3 where the server knows it, as invalidations come by RESP3")
		}
		info, err := client.Info(ctx).Result()
		if err != nil {
			return all
		}
		if strings.Contains(info, "role:slave") {
			add("replica", "the server is a replica, which may be behind its master and takes no writes; connect to the master")
		}
		if strings.Contains(info, "maxmemory_policy:allkeys-") {
			add("eviction", "the server's maxmemory-policy is allkeys-…, so that it drops sessions in use when its memory is full; "+
				"set volatile-lru or noeviction, and enough memory")
		}
	case *redis.ClusterClient:
		o := client.Options()
		timeouts(o.ReadTimeout > 0, o.ContextTimeoutEnabled, add)
	}
	return all
}

// timeouts is about a client that waits for ever.
func timeouts(read, contexts bool, add func(topic, text string)) {
	if !read {
		add("timeout", "the client waits for an answer without end, so that a server which hangs takes each request along; "+
			"set ReadTimeout, as redisstore.Open does (3 s)")
	}
	if !contexts {
		add("context", "the client doesn't look at a request's deadline while a command is under way; set ContextTimeoutEnabled")
	}
}

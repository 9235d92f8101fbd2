package redisstore

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// advise returns what to change in a client's options and in the server's, as one INFO and one script show.
func advise(ctx context.Context, client redis.UniversalClient, prefix string, waits bool) (all []tiers.Advice) {
	add := func(topic, text string) { all = append(all, tiers.Advice{Topic: topic, Text: text}) }
	if prefix == "" {
		add("prefix", "session ids are keys of the database as they are, so that an id which a client makes up can name any key; "+
			"give redisstore a Prefix, unless StorageRedis has used these keys without one")
	}
	if waits {
		add("timeout", "the client asks its sentinels without a time-out, so that one which hangs holds up all new connections; "+
			"set readTimeout in GoFrame's configuration of Redis, such as 3s")
	}
	switch client := client.(type) {
	case *redis.Client:
		o := client.Options()
		timeouts(o.ReadTimeout > 0, add)
		if o.Protocol == 2 {
			add("protocol", "the client asks for RESP2; leave Protocol at 3 where the server knows it, as invalidations come by RESP3")
		}
		inquire(ctx, client, add)
	case *redis.ClusterClient:
		o := client.Options()
		timeouts(o.ReadTimeout > 0, add)
		if o.ReadTimeout > 0 {
			// A node's client: that of the cluster asks COMMAND first, and others wait for it.
			if node, err := client.MasterForKey(ctx, prefix); err == nil {
				inquire(ctx, node, add)
			}
		}
	}
	return all
}

const inquiryTimeout = 2 * time.Second

// inquire asks a server. A client may have no time-out, and look at no context.
func inquire(ctx context.Context, client *redis.Client, add func(topic, text string)) {
	client = client.WithTimeout(inquiryTimeout)
	info, err := client.Info(ctx).Result()
	inform(info, err, add)
	if fault.IsRefusal(client.Eval(ctx, "return 1", nil).Err()) {
		add("script", "the server refuses EVAL, or the user may not run it, so that most writes take two round trips in place of one; "+
			"allow +eval and +evalsha if you can")
	}
}

// inform is about what the server says of itself. A server that can't be reached is logged elsewhere.
func inform(info string, err error, add func(topic, text string)) {
	var refused redis.Error
	if errors.As(err, &refused) && strings.HasPrefix(refused.Error(), "NOPERM") {
		add("info", "the user may not ask INFO, so that a replica as the target and an eviction policy aren't noticed; "+
			"allow +info, or look at role and maxmemory_policy yourself")
	}
	if err != nil {
		return
	}
	if strings.Contains(info, "role:slave") {
		add("replica", "the server is a replica, which may be behind its master and takes no writes; connect to the master")
	}
	// Sessions have a time to live, so that volatile-… drops them too: one that memory serves looks unused to Redis.
	if strings.Contains(info, "maxmemory_policy:") && !strings.Contains(info, "maxmemory_policy:noeviction") {
		add("eviction", "the server's maxmemory-policy lets it drop sessions in use when its memory is full; set noeviction, and enough memory")
	}
}

// timeouts is about a client that waits for ever.
func timeouts(read bool, add func(topic, text string)) {
	if !read {
		add("timeout", "the client waits for a reply without end, so that a server which hangs takes each request along; "+
			"set ReadTimeout, as redisstore.Open does (3 s)")
	}
}

package peers

import (
	"context"
	"time"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// behind is how long Strata may write behind.
const behind = 100 * time.Millisecond

// WrittenTTL is what Strata gives a session to live when it writes it: a tenth more than
// the ttl, so that the next slide is due when that tenth is used up.
const WrittenTTL = TTL + TTL/10

func strata() Subject {
	return Subject{Name: "Strata", Strata: true, Isolated: true, Redis: true, Memory: true, HTTP: true,
		Setup: "layer.Chain(redisstore.FromGoFrame(client, prefix), layer.Coalesced(), layer.Local(), layer.Traced()), " +
			"on the same client as StorageRedis. Every SetSession waits for Redis.",
		Open: func(e Env) (Node, error) { return openStrata(e) }}
}

func strataBehind() Subject {
	return Subject{Name: "Strata, write-behind", Strata: true, Isolated: true, Redis: true, Memory: true, HTTP: true,
		Setup: "The same with layer.Coalesced(layer.WriteBehind(100ms)): what a process had accepted in the last " +
			"100 ms is lost if it is killed. A round ends when all is in Redis.",
		Open: func(e Env) (Node, error) { return openStrata(e, layer.WriteBehind(behind)) }}
}

func openStrata(e Env, opts ...layer.CoalescedOption) (Node, error) {
	client, err := goframe(e)
	if err != nil {
		return nil, err
	}
	store := redisstore.FromGoFrame(client, redisstore.Prefix(Prefix))
	chain := layer.Chain(store, layer.Coalesced(opts...), layer.Local(layer.MaxBytes(e.CacheBytes)), layer.Traced())
	n := newNode(chain, e.TTL, closer(client),
		func() error { return store.Close(context.Background()) },
		func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return chain.Close(ctx)
		})
	n.seed, n.flush = SeedJSON(e, WrittenTTL), chain.Flush
	return n, nil
}

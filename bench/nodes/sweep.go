package main

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sweep is a time in which the servers end sessions that nobody has logged out: all of them, or any.
type Sweep struct {
	From, To int64
	All      bool
}

// swept are the log-outs that sweeps stand for.
func swept(sweeps []Sweep, ids []string) (records []Record) {
	for _, s := range sweeps {
		for _, id := range ids {
			r := Record{Node: Outside, Kind: Logout, ID: id, Start: s.From, End: s.To}
			if !s.All {
				r.Outcome = Perhaps
			}
			records = append(records, r)
		}
	}
	return records
}

// sweep has the servers end sessions. Programs without Strata, which would write theirs again as they
// were, log in anew.
func (w *world) sweep(all bool, how func()) *Loss {
	w.outside.Lock()
	defer w.outside.Unlock()
	s := Sweep{From: now(), All: all}
	how()
	s.To = now()
	w.sweeps = append(w.sweeps, s)
	for n := range foreigners {
		slot := w.options.Users + n
		w.slots.Release(slot, w.slots.Generation(slot)+1)
	}
	return nil
}

// flush has an operator remove all keys.
func flush(w *world, _ *rand.Rand, _ int) *Loss {
	ctx := context.Background()
	empty := func(ctx context.Context, master *redis.Client) error { return master.FlushDB(ctx).Err() }
	return w.sweep(true, func() {
		w.await(20*time.Second, "the masters carry out FLUSHDB", func() bool {
			if c, is := w.client.(*redis.ClusterClient); is {
				return c.ForEachMaster(ctx, empty) == nil
			}
			return w.client.FlushDB(ctx).Err() == nil
		})
	})
}

// evict has a server whose memory is full drop what it likes.
func evict(w *world, random *rand.Rand, _ int) *Loss {
	server := w.servers[0]
	info, err := w.at(server).InfoMap(context.Background(), "memory").Result()
	used, _ := strconv.ParseFloat(info["Memory"]["used_memory"], 64)
	data, _ := strconv.ParseFloat(info["Memory"]["used_memory_dataset"], 64)
	if err != nil || data == 0 {
		w.tb.Fatalf("the memory that the data takes: %v", err)
	}
	return w.sweep(false, func() {
		w.do(server, "config", "set", "maxmemory-policy", "allkeys-lru", "maxmemory", int(used-data*random.Float64()))
		wait(some(random, 100*time.Millisecond, 2*lease))
		w.do(server, "config", "set", "maxmemory", "0", "maxmemory-policy", "noeviction")
	})
}

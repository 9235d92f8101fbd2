package redisstore_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers/redisstore"
)

// probe counts round trips, and runs code at a step of them. mu guards its fields.
type probe struct {
	mu     sync.Mutex
	trips  []string // the commands of each, joined by a blank
	before func(trip int, commands string)
}

var _ redis.Hook = (*probe)(nil)

// probed is a storage whose round trips are seen.
func (f *fixture) probed() (*redisstore.Storage, *probe) {
	p := &probe{}
	client := f.server.Client()
	f.check(client.Ping(ctx).Err()) // what connects isn't counted
	client.AddHook(p)
	return redisstore.New(client), p
}

// reset forgets the trips so far and sets what runs before each that follows.
func (p *probe) reset(before func(trip int, commands string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trips, p.before = nil, before
}

func (p *probe) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.trips)
}

func (p *probe) note(commands string) {
	p.mu.Lock()
	trip, before := len(p.trips), p.before
	p.trips = append(p.trips, commands)
	p.mu.Unlock()
	if before != nil {
		before(trip, commands)
	}
}

func (p *probe) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (p *probe) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		p.note(cmd.Name())
		return next(ctx, cmd)
	}
}

func (p *probe) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		var names []string
		for _, cmd := range cmds {
			names = append(names, cmd.Name())
		}
		p.note(strings.Join(names, " "))
		return next(ctx, cmds)
	}
}

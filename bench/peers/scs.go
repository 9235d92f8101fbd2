package peers

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"
)

func scsRedis() Subject {
	return Subject{Name: "scs + Redis", Isolated: true, Redis: true,
		Setup: "alexedwards/scs v2.9.0 with its goredisstore on go-redis with a pool of 100, through its own API (Load, Get, Put, Commit as its " +
			"LoadAndSave does), Lifetime as the others' ttl, no idle time-out: reads write nothing.",
		Open: func(e Env) (Node, error) {
			gob.Register(map[string]any{})
			gob.Register([]any{})
			gob.Register(json.Number(""))
			client := redis.NewClient(&redis.Options{Addr: e.Addr, PoolSize: PoolSize})
			n := &scsNode{env: e, client: client, manager: scs.New()}
			n.manager.Store, n.manager.Lifetime = goredisstore.New(client), e.TTL
			return n, nil
		}}
}

// scsNode runs requests through scs' own API. Its fields are set at construction.
type scsNode struct {
	env     Env
	client  *redis.Client
	manager *scs.SessionManager
}

// scsRequest is what LoadAndSave does around a handler. err is what loading returned.
type scsRequest struct {
	manager *scs.SessionManager
	ctx     context.Context
	err     error
}

func (n *scsNode) Begin(ctx context.Context, id string) Request {
	ctx, err := n.manager.Load(ctx, id)
	return &scsRequest{manager: n.manager, ctx: ctx, err: err}
}

func (n *scsNode) Storage() gsession.Storage   { return nil }
func (n *scsNode) Misses() (int64, bool)       { return 0, false }
func (n *scsNode) Flush(context.Context) error { return nil }
func (n *scsNode) Close() error                { return n.client.Close() }

// Seed writes sessions as scs encodes them.
func (n *scsNode) Seed(ctx context.Context, ids []string, data func(string) map[string]any) error {
	return seeder(n.env, func(ctx context.Context, pipe redis.Pipeliner, id string, data map[string]any) error {
		text, err := scs.GobCodec{}.Encode(time.Now().Add(n.env.TTL), data)
		if err != nil {
			return err
		}
		return pipe.Set(ctx, "scs:session:"+id, text, n.env.TTL).Err()
	})(ctx, ids, data)
}

func (r *scsRequest) ID() (string, error) { return r.manager.Token(r.ctx), r.err }

func (r *scsRequest) Get(key string) (any, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.manager.Get(r.ctx, key), nil
}

func (r *scsRequest) Set(key string, value any) error {
	if r.err != nil {
		return r.err
	}
	r.manager.Put(r.ctx, key, value)
	return nil
}

func (r *scsRequest) Clear() error {
	if r.err != nil {
		return r.err
	}
	return r.manager.Destroy(r.ctx)
}

func (r *scsRequest) Close() error {
	if r.err != nil || r.manager.Status(r.ctx) != scs.Modified {
		return r.err
	}
	_, _, err := r.manager.Commit(r.ctx)
	return err
}

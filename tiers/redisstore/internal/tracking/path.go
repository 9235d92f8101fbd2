package tracking

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

var errUnproven = errors.New("strata: redis: the connection doesn't lead to the server that is watched")

// path is the client that commands go through. A path of our own is closed after its last use; to be the present
// path is one.
//
// client, own and cancel are set at construction; paths.mu guards uses.
type path struct {
	client commander
	own    *redis.Client // nil for the user's client
	cancel func()        // ends the calls of the Dialer, which go on when the client is closed
	uses   int
}

// userPath is the path through the user's client.
func userPath(client redis.UniversalClient) *path { return &path{client: client, uses: 1} }

// watch is the Watch, without a key, of the client of the server that has the key. That of a cluster's client, and of one
// of another type, sends a WATCH of its own first.
func (p *path) watch(ctx context.Context, key string, fn func(*redis.Tx) error) (err error) {
	switch c := p.client.(type) {
	case *redis.Client:
		return watchBy(ctx, c, fn)
	case *redis.ClusterClient:
		master, err := c.MasterForKey(ctx, key)
		if err != nil {
			return err
		}
		if err = watchBy(ctx, master, fn); redis.HasErrorPrefix(err, "MOVED ") {
			if master = movedTo(ctx, c, key, err); master != nil {
				err = watchBy(ctx, master, fn)
			}
		}
		return err
	case redis.UniversalClient:
		return c.Watch(ctx, fn, key)
	default:
		return watchBy(ctx, p.own, fn)
	}
}

// movedTo has a cluster's client ask who has which slots, and returns the client of the master that a server has named, or
// else of that which has the key now: the client may have another address for it, as for one with IPv6, or behind NAT.
func movedTo(ctx context.Context, c *redis.ClusterClient, key string, moved error) *redis.Client {
	ctx, cancel := context.WithTimeout(ctx, replyTime)
	defer cancel()
	var found atomic.Pointer[redis.Client]
	_ = c.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
		if strings.HasSuffix(moved.Error(), " "+master.Options().Addr) {
			found.Store(master)
		}
		return nil
	})
	if master := found.Load(); master != nil {
		return master
	}
	master, _ := c.MasterForKey(ctx, key)
	return master
}

// watchBy is the client's Watch, which asks the client's Limiter once: go-redis asks it at each command, so that it could
// refuse to end a transaction that it had let begin, and the connection would go back to the pool within it. The client's
// hooks aren't called then.
func watchBy(ctx context.Context, client *redis.Client, fn func(*redis.Tx) error) (err error) {
	o := client.Options()
	if o.Limiter == nil {
		return client.Watch(ctx, fn)
	}
	if err := o.Limiter.Allow(); err != nil {
		return err
	}
	defer func() { o.Limiter.ReportResult(err) }()
	unlimited := client.WithTimeout(o.ReadTimeout) // has options of its own
	unlimited.Options().WriteTimeout, unlimited.Options().Limiter = o.WriteTimeout, nil
	return unlimited.Watch(ctx, fn)
}

// commander is a client, or one connection of it.
type commander interface {
	Process(ctx context.Context, cmd redis.Cmder) error
	Pipeline() redis.Pipeliner
}

// paths is a watcher's way to a server that is alone. While it vouches, commands go through
// connections of the watch session's own, each of which was proven to lead to the server that
// is watched. When the watch session ends, they go through connections that are made from then on:
// those from before may lead to a server that the address has left. The user's client is
// taken while there are no listeners, and until a watch session has stood.
//
// user is set at construction; mu guards the rest.
type paths struct {
	user redis.UniversalClient

	mu  sync.Mutex
	now *path
}

// newPaths returns paths that begin with the user's client.
func newPaths(client redis.UniversalClient) *paths {
	return &paths{user: client, now: userPath(client)}
}

// on uses the present path, and leaves it if it turns out to lead elsewhere.
func (p *paths) on(use func(*path) error) error {
	p.mu.Lock()
	now := p.now
	now.uses++
	p.mu.Unlock()
	defer p.give(now)
	err := use(now)
	if errors.Is(err, errUnproven) {
		p.leave(now)
	}
	return err
}

// give ends a use of a path.
func (p *paths) give(back *path) {
	p.mu.Lock()
	back.uses--
	unused := back.uses == 0
	p.mu.Unlock()
	if unused && back.own != nil {
		back.cancel()
		_ = back.own.Close()
	}
}

// use leads later commands through next.
func (p *paths) use(next *path) {
	p.mu.Lock()
	last := p.now
	p.now = next
	p.mu.Unlock()
	p.give(last)
}

// leave leads later commands through connections that are made from now on, unless they no
// longer go through old.
func (p *paths) leave(old *path) {
	p.mu.Lock()
	isNow := p.now == old
	if isNow {
		p.now = newPath(p.user.(*redis.Client), nil)
	}
	p.mu.Unlock()
	if isNow {
		p.give(old)
	}
}

// newPath makes connections as the client does, and calls the hooks that the client has,
// except their DialHook, which can't be carried. vet is called with each new connection.
func newPath(client *redis.Client, vet func(context.Context, *redis.Conn) error) *path {
	o := *client.Options()
	o.MinIdleConns = 0
	if o.MaxRetries == 0 { // none, which is the default where options are passed
		o.MaxRetries = -1
	}
	o.ClientSideCache, o.ClientSideCacheConfig = nil, nil
	o.PushNotificationProcessor = nil
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	life, cancel := context.WithCancel(context.Background())
	dial := o.Dialer
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(life, stop)()
		return dial(ctx, network, addr)
	}
	if vet != nil {
		greetBy(&o, vet)
	}
	own := redis.NewClient(&o)
	hooked := client.Conn() // for its hooks: it takes a connection only when it is used
	hooked.AddHook(diversion{own})
	return &path{client: hooked, own: own, cancel: cancel, uses: 1}
}

// diversion is the innermost hook of a connection that is never made: what it is given goes
// through another client.
type diversion struct{ to *redis.Client }

var _ redis.Hook = diversion{}

func (d diversion) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) { return nil, errUnproven }
}

func (d diversion) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return d.to.Process
}

func (d diversion) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		return Together(ctx, d.to.Pipeline(), commands...)
	}
}

// send sends commands together, and through the user's client one alone as a pipeline too. Before a
// single command go-redis asks any master of a cluster for the table of COMMAND, and while that one
// hangs, or as long as the user may not ask, every single command of the process waits for it; and
// with the client's own cache it replies from memory.
func (p *path) send(ctx context.Context, commands []redis.Cmder) error {
	if len(commands) == 1 && p.own != nil { // half the allocations
		return p.client.Process(ctx, commands[0])
	}
	return Together(ctx, p.client.Pipeline(), commands...)
}

// Together sends commands as one pipeline.
func Together(ctx context.Context, pipe redis.Pipeliner, commands ...redis.Cmder) error {
	_ = pipe.BatchProcess(ctx, commands...)
	_, err := pipe.Exec(ctx)
	return err
}

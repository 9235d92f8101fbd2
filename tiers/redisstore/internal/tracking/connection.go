package tracking

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/push"

	"github.com/gf-strata/strata/tiers/redisstore/internal/pause"
)

// canaryLife ends what is left of a canary where the connection breaks after the first command.
const canaryLife = time.Second

// connection is one connection to one master, in the broadcasting mode of CLIENT TRACKING
// (https://redis.io/docs/latest/develop/reference/client-side-caching/), or subscribed to keyspace
// notifications (https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/), which the server
// sends at once. It lives from its connection to the first fault, and never connects again.
//
// The server sends invalidations and its pongs on the same connection, but an invalidation
// after the pong of a ping that it handles in the same turn of its loop: it collects
// invalidations until the turn's end (beforeSleep in its server.c). A turn handles what
// had arrived before it began, so that a change which the pong overtakes was made after
// the ping was sent, provided that no other ping woke the server for this connection.
// So one ping is under way at a time, and a pong proves that all changes up to the
// moment before the ping was sent have been read. (A server whose threads read while
// the turn goes on, as Redis 8's io-threads may, can be behind by that turn.)
//
// watchSession, n and master are set at construction, sub before the first ping; mu guards the rest.
type connection struct {
	watchSession *watchSession
	n            int
	master       *redis.Options
	sub          *redis.PubSub

	mu       sync.Mutex
	dialed   bool
	conn     net.Conn
	over     error // why it was cut
	pings    uint64
	sent     time.Time          // when the last ping was about to be sent
	waiting  bool               // for its pong
	canaries map[string]*canary // by key, which aren't received yet
}

func newConnection(r *watchSession, n int, master *redis.Options) *connection {
	return &connection{watchSession: r, n: n, master: master, canaries: map[string]*canary{}}
}

// run connects, reads and pings until the connection or ctx ends, and says why.
func (c *connection) run(ctx context.Context) error {
	o := derive(c.master)
	o.Protocol = c.watchSession.protocol()
	dial := o.Dialer
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return c.dial(func() (net.Conn, error) { return dial(ctx, network, addr) })
	}
	greetBy(o, c.greet)
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.cut(ctx.Err()) })()
	if !c.watchSession.notifications {
		if err := client.RegisterPushNotificationHandler("invalidate", c, true); err != nil {
			return err
		}
	}
	c.sub = client.Subscribe(ctx) // to nothing: it holds the connection and reads it
	defer func() { _ = c.sub.Close() }()
	connecting, cancel := context.WithTimeout(ctx, c.watchSession.trial)
	defer cancel()
	if err := c.sub.Ping(connecting, c.next()); err != nil {
		return err
	}
	var pings sync.WaitGroup
	pinging, stop := context.WithCancel(ctx)
	pings.Go(func() { _ = c.cut(guarded(func() error { return c.ping(pinging) })) })
	defer func() {
		stop()
		_ = c.cut(errLost) // a ping may be blocked in its write
		pings.Wait()
	}()
	for {
		message, err := c.sub.Receive(ctx)
		if says(err, full) { // a server that can't save replies so to a ping
			message, err = &redis.Pong{Payload: c.pinged()}, nil
		}
		if err != nil {
			return c.cut(err)
		}
		switch message := message.(type) {
		case *redis.Subscription:
			c.receive("", message.Channel)
		case *redis.Message:
			key, isKey := strings.CutPrefix(message.Channel, c.channel(""))
			switch {
			case message.Pattern != "" && isKey:
				c.receive(message.Payload, key)
				c.watchSession.changed([]any{key})
			case strings.HasPrefix(message.Channel, c.watchSession.prefix+canaryName):
				c.receive("", message.Channel)
			default:
				return errLost
			}
		case *redis.Pong:
			at, ok := c.pong(message.Payload)
			if !ok {
				return errLost
			}
			c.pass(at)
			c.watchSession.prove(c.n, at)
		default:
			return errLost
		}
	}
}

// dial connects once. A PubSub dials again by itself when its connection fails, and
// would read on without the invalidations in between.
func (c *connection) dial(dial func() (net.Conn, error)) (net.Conn, error) {
	c.mu.Lock()
	spent := c.dialed || c.over != nil
	c.dialed = true
	c.mu.Unlock()
	if spent {
		return nil, errLost
	}
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	c.watchSession.reaches(connected)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over != nil {
		_ = conn.Close()
		return nil, errLost
	}
	c.conn = conn
	return conn, nil
}

// cut closes the connection, which wakes its reader and writer, and returns why it was cut first.
func (c *connection) cut(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over == nil {
		c.over = err
	}
	if c.conn != nil {
		_ = c.conn.Close()
	}
	return c.over
}

// greet asks for invalidations. A server that goes on in RESP2 accepts CLIENT TRACKING, and then sends none.
func (c *connection) greet(ctx context.Context, conn *redis.Conn) error {
	r := c.watchSession
	hello := conn.Hello(ctx, r.protocol(), "", "", "")
	err := isMaster(hello, r.protocol())
	if err == nil || hello.Err() == nil {
		r.reaches(greeted)
	}
	if err != nil {
		return err
	}
	var args []any
	switch {
	case r.notifications:
		args = []any{"psubscribe", glob.Replace(c.channel(r.prefix)) + "*"}
	case r.prefix == "":
		args = []any{"client", "tracking", "on", "bcast"}
	default:
		args = []any{"client", "tracking", "on", "bcast", "prefix", r.prefix}
	}
	if err := asUnsupported(conn.Process(ctx, redis.NewCmd(ctx, args...))); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = time.Now() // the first ping, which made the connection, follows
	return nil
}

// channel is the channel of a key's notifications.
func (c *connection) channel(key string) string {
	return fmt.Sprintf("__keyspace@%d__:%s", c.master.DB, key)
}

// glob makes a pattern of a text.
var glob = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// ping sends a ping at the pace of the watch. It returns an error where no pong comes within the lease: that also bounds
// what the server keeps for a reader that hangs.
func (c *connection) ping(ctx context.Context) error {
	for pause.For(ctx, c.watchSession.pace) {
		c.mu.Lock()
		waiting, late := c.waiting, time.Since(c.sent) > c.watchSession.lease
		c.mu.Unlock()
		switch {
		case waiting && late:
			return errSilent
		case waiting:
			continue
		}
		if err := c.sub.Ping(ctx, c.next()); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// next is the payload of a ping that is about to be sent.
func (c *connection) next() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pings++
	c.waiting, c.sent = true, time.Now()
	return strconv.FormatUint(c.pings, 10)
}

// pinged is the payload of the last ping.
func (c *connection) pinged() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strconv.FormatUint(c.pings, 10)
}

// pong is when the ping with this payload was about to be sent.
func (c *connection) pong(payload string) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over != nil || !c.waiting || payload != strconv.FormatUint(c.pings, 10) {
		return time.Time{}, false
	}
	c.waiting = false
	return c.sent, true
}

// HandlePushNotification receives an invalidation: a list of keys, or nil where all were
// removed. An error would go to go-redis' log, and the stream on.
func (c *connection) HandlePushNotification(_ context.Context, _ push.NotificationHandlerContext, message []any) error {
	if len(message) == 2 {
		switch keys := message[1].(type) {
		case nil:
			c.watchSession.flushed()
			return nil
		case []any:
			c.receive("", keys...)
			if c.watchSession.changed(keys) {
				return nil
			}
		}
	}
	_ = c.cut(errLost)
	return nil
}

// canary is a key that is written on one connection to receive its invalidation on another:
// both lead to one server then, and nothing between drops invalidations or has forgotten the
// tracking.
//
// The connection's mu guards its fields; done is sent to once.
type canary struct {
	done    chan error
	written time.Time // when the server had replied, zero before
	pongs   int
	set     bool // its first keyspace notification was received
}

// settle ends the wait for a canary.
func (c *connection) settle(key string, err error) {
	if k := c.canaries[key]; k != nil {
		delete(c.canaries, key)
		k.done <- err
	}
}

// receive looks for canaries among the keys of an invalidation, or of a keyspace notification with its event. Of these
// a canary needs both: the server may be set to send some kinds only.
func (c *connection) receive(event string, keys ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := 0; n < len(keys) && len(c.canaries) > 0; n++ {
		key, _ := keys[n].(string)
		switch k := c.canaries[key]; {
		case k == nil:
		case event == "set":
			k.set = true
		case event == "", event == "del" && k.set:
			c.settle(key, nil)
		}
	}
}

// pass takes note of a pong, given when its ping was about to be sent: the invalidations of what
// was written before should have come before it. One pong more is waited for than should be needed.
func (c *connection) pass(sent time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, k := range c.canaries {
		if k.written.IsZero() || !sent.After(k.written) {
			continue
		}
		if k.pongs++; k.pongs > 1 {
			c.settle(key, errDeaf)
		}
	}
}

// isBehind returns nil if a connection leads to the server of this one, and what changes there arrives: it writes a
// canary on it, removes it at once, and waits until its invalidation is received. A server that refuses all writes now
// takes a message in place of that if it is believed to notify; a message doesn't show that keyspace notifications arrive.
func (c *connection) isBehind(ctx context.Context, on commander, key string, believed bool) error {
	pipe := on.Pipeline()
	pipe.Set(ctx, key, "", canaryLife)
	pipe.Del(ctx, key)
	err := c.await(ctx, key, func() error { _, err := pipe.Exec(ctx); return err })
	if !says(err, full) || !believed || c.watchSession.notifications {
		return err
	}
	if err := c.await(ctx, key, func() error { return c.sub.Subscribe(ctx, key) }); err != nil {
		return err
	}
	defer func() { _ = c.sub.Unsubscribe(ctx, key) }()
	return c.await(ctx, key, func() error { return on.Process(ctx, redis.NewCmd(ctx, "publish", key, "")) })
}

// await calls send, and waits until the connection has received what that is followed by under the key.
func (c *connection) await(ctx context.Context, key string, send func() error) error {
	k := &canary{done: make(chan error, 1)}
	c.mu.Lock()
	c.canaries[key] = k
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.settle(key, nil)
	}()
	if err := send(); err != nil {
		return err
	}
	c.mu.Lock()
	k.written = time.Now()
	c.mu.Unlock()
	select {
	case err := <-k.done:
		return err
	case <-c.watchSession.life.Done():
		return errUnproven
	case <-ctx.Done():
		return ctx.Err()
	}
}

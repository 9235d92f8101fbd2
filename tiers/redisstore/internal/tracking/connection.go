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
// watchSession, n and master are set at construction; mu guards the rest.
type connection struct {
	watchSession *watchSession
	n            int
	master       *redis.Options

	mu       sync.Mutex
	dialed   bool
	down     bool
	conn     net.Conn
	sub      *redis.PubSub // once the first ping was sent
	pings    uint64
	sent     time.Time          // when the last ping was about to be sent
	waiting  bool               // for its pong
	silent   bool               // a pong is missing, which is why it is down
	canaries map[string]*canary // by key, which aren't received yet
}

func newConnection(r *watchSession, n int, master *redis.Options) *connection {
	return &connection{watchSession: r, n: n, master: master, canaries: map[string]*canary{}}
}

// run connects, reads and pings until the connection or ctx ends, and says why.
func (c *connection) run(ctx context.Context) error {
	o := derive(c.master)
	dial, greet, prepare := o.Dialer, o.OnConnect, c.track
	if c.watchSession.notifications {
		o.Protocol, prepare = 2, c.greet
	}
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return c.dial(func() (net.Conn, error) { return dial(ctx, network, addr) })
	}
	o.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		if greet != nil {
			if err := greet(ctx, conn); err != nil {
				return err
			}
		}
		return prepare(ctx, conn)
	}
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }()
	defer context.AfterFunc(ctx, c.cut)()
	sub := client.Subscribe(ctx) // to nothing: it holds the connection and reads it
	defer func() { _ = sub.Close() }()
	connecting, cancel := context.WithTimeout(ctx, c.watchSession.trial)
	defer cancel()
	if err := c.listen(connecting, client, sub); err != nil {
		return err
	}
	if err := sub.Ping(connecting, c.next()); err != nil {
		return err
	}
	var pings sync.WaitGroup
	pinging, stop := context.WithCancel(ctx)
	pings.Go(func() {
		_ = guarded(func() error { c.ping(pinging, sub); return nil })
		c.cut()
	})
	defer func() {
		stop()
		c.cut() // a ping may be blocked in its write
		pings.Wait()
	}()
	c.mu.Lock()
	c.sub = sub
	c.mu.Unlock()
	for {
		message, err := sub.Receive(ctx)
		if says(err, full) { // a server that can't save replies so to a ping
			message, err = &redis.Pong{Payload: c.pinged()}, nil
		}
		if err != nil {
			return c.because(err)
		}
		switch message := message.(type) {
		case *redis.Subscription:
			c.receive([]any{message.Channel})
		case *redis.Message:
			if key, ok := strings.CutPrefix(message.Channel, c.channel("")); ok && message.Pattern != "" {
				c.notified(key, message.Payload)
				continue
			}
			if !strings.HasPrefix(message.Channel, c.watchSession.prefix+canaryMark) {
				return errLost
			}
			c.receive([]any{message.Channel})
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
	spent := c.dialed || c.down
	c.dialed = true
	c.mu.Unlock()
	if spent {
		return nil, errLost
	}
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	down := c.down
	if !down {
		c.conn = conn
	}
	c.mu.Unlock()
	if down {
		_ = conn.Close()
		return nil, errLost
	}
	c.watchSession.reaches(connected)
	return conn, nil
}

// cut closes the connection, which wakes its reader and writer.
func (c *connection) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = true
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// because is why the connection can't be read.
func (c *connection) because(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent {
		return errSilent
	}
	return err
}

// remote is the address that it is connected to.
func (c *connection) remote() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return ""
	}
	return c.conn.RemoteAddr().String()
}

// track asks for invalidations. A server that goes on in RESP2 accepts the command,
// and then sends none.
func (c *connection) track(ctx context.Context, conn *redis.Conn) error {
	hello := conn.Hello(ctx, 3, "", "", "")
	if err := asUnsupported(hello.Err()); err != nil {
		return err
	}
	c.watchSession.reaches(greeted)
	if hello.Val()["proto"] != int64(3) {
		return errNoRESP3
	}
	if err := isMaster(hello); err != nil {
		return err
	}
	args := []any{"client", "tracking", "on", "bcast"}
	if c.watchSession.prefix != "" {
		args = append(args, "prefix", c.watchSession.prefix)
	}
	if err := asUnsupported(conn.Process(ctx, redis.NewStatusCmd(ctx, args...))); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = time.Now() // the first ping, which made the connection, follows
	return nil
}

// greet is track for keyspace notifications.
func (c *connection) greet(ctx context.Context, conn *redis.Conn) error {
	hello := conn.Hello(ctx, 2, "", "", "")
	if err := hello.Err(); err != nil && !isRefused(err) {
		return err
	}
	c.watchSession.reaches(greeted)
	c.mu.Lock()
	c.sent = time.Now()
	c.mu.Unlock()
	return isMasterIfAsked(hello)
}

// listen says how the connection receives changes.
func (c *connection) listen(ctx context.Context, client *redis.Client, sub *redis.PubSub) error {
	if c.watchSession.notifications {
		return sub.PSubscribe(ctx, glob.Replace(c.channel(c.watchSession.prefix))+"*")
	}
	return client.RegisterPushNotificationHandler("invalidate", c, true)
}

// channel is the channel of a key's notifications.
func (c *connection) channel(key string) string {
	return fmt.Sprintf("__keyspace@%d__:%s", c.master.DB, key)
}

// glob makes a pattern of a text.
var glob = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// ping sends a ping at the pace of the watch, and cuts the connection where no
// pong comes within the lease: that also bounds what the server keeps for a reader that
// hangs.
func (c *connection) ping(ctx context.Context, sub *redis.PubSub) {
	tick := time.NewTicker(c.watchSession.pace)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		waiting, late := c.waiting, time.Since(c.sent) > c.watchSession.lease
		c.silent = waiting && late
		c.mu.Unlock()
		switch {
		case waiting && !late:
		case waiting || sub.Ping(ctx, c.next()) != nil:
			c.cut()
			return
		}
	}
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
	if c.down || !c.waiting || payload != strconv.FormatUint(c.pings, 10) {
		return time.Time{}, false
	}
	c.waiting = false
	return c.sent, true
}

// HandlePushNotification receives an invalidation: a list of keys, or nil where all were
// removed. An error would go to go-redis' log, and the stream on.
func (c *connection) HandlePushNotification(_ context.Context, _ push.NotificationHandlerContext, message []any) error {
	if len(message) != 2 {
		c.cut()
		return nil
	}
	switch keys := message[1].(type) {
	case nil:
		c.watchSession.flushed()
	case []any:
		c.receive(keys)
		if !c.watchSession.changed(keys) {
			c.cut()
		}
	default:
		c.cut()
	}
	return nil
}

// notified receives a keyspace notification. A canary needs those of both commands: the server may be set to
// send some kinds only.
func (c *connection) notified(key, event string) {
	c.mu.Lock()
	if k := c.canaries[key]; k != nil {
		if k.set = k.set || event == "set"; k.set && event == "del" {
			c.settle(key, nil)
		}
	}
	c.mu.Unlock()
	c.watchSession.changed([]any{key})
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

// expect has the connection look for a key.
func (c *connection) expect(key string) *canary {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &canary{done: make(chan error, 1)}
	c.canaries[key] = k
	return k
}

// settle ends the wait for a key.
func (c *connection) settle(key string, err error) {
	if k := c.canaries[key]; k != nil {
		delete(c.canaries, key)
		k.done <- err
	}
}

// receive looks for canaries among invalidated keys.
func (c *connection) receive(keys []any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := 0; n < len(keys) && len(c.canaries) > 0; n++ {
		if key, ok := keys[n].(string); ok {
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

// sendCanary writes a key on a connection, removes it at once, and waits until its invalidation is
// received.
func (c *connection) sendCanary(ctx context.Context, on pipeliner, key string) error {
	return c.await(ctx, key, func() error {
		_, err := on.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.Set(ctx, key, "", canaryLife)
			pipe.Del(ctx, key)
			return nil
		})
		return err
	})
}

// sendMessage publishes a message on a connection, and waits until it is received. So a server that takes no
// writes shows as well that both lead to it.
func (c *connection) sendMessage(ctx context.Context, on pipeliner, channel string) error {
	c.mu.Lock()
	sub := c.sub
	c.mu.Unlock()
	if err := c.await(ctx, channel, func() error { return sub.Subscribe(ctx, channel) }); err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe(ctx, channel) }()
	return c.await(ctx, channel, func() error {
		_, err := on.Pipelined(ctx, func(pipe redis.Pipeliner) error { return pipe.Publish(ctx, channel, "").Err() })
		return err
	})
}

// pipeliner is a client, or one connection of it.
type pipeliner interface {
	Pipelined(ctx context.Context, queue func(redis.Pipeliner) error) ([]redis.Cmder, error)
}

// await calls send, and waits until the connection has received what that is followed by under the key.
func (c *connection) await(ctx context.Context, key string, send func() error) error {
	k := c.expect(key)
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
	case <-c.watchSession.ended:
		return errUnproven
	case <-ctx.Done():
		return ctx.Err()
	}
}

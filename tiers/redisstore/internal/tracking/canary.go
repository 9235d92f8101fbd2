package tracking

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

const (
	// canaryMark and chance follow the prefix, so that the key is nobody's.
	canaryMark = "strata-canary-"

	// canaryLife ends what is left where the connection breaks after the first command.
	canaryLife = time.Second

	// canaryTries bounds the search for a key of some slot.
	canaryTries = 1 << 17

	// proofLife is how long a canary proves that commands go to the server that announces, and
	// that what this announces arrives. Each is announced to all nodes, and takes a new
	// connection, so that more of them would cost a server with many nodes more than they tell.
	proofLife = 10 * time.Second
)

// canary is a key that is written on one connection to receive its announcement on another:
// both lead to one server then, and nothing between keeps announcements to itself or has
// forgotten the tracking.
//
// The connection's mu guards its fields; done is sent to once.
type canary struct {
	done    chan error
	written time.Time // when the server had replied, zero before
	pongs   int
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

// receive looks for canaries in what is announced.
func (c *connection) receive(keys []any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := 0; n < len(keys) && len(c.canaries) > 0; n++ {
		if key, ok := keys[n].(string); ok {
			c.settle(key, nil)
		}
	}
}

// pass takes note of a pong, given when its ping was about to be sent: what was written
// before should have been announced before it. One pong more is waited for than should be needed.
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

// sendCanary writes a key on a connection, removes it at once, and waits until its announcement is
// received.
func (c *connection) sendCanary(ctx context.Context, on interface {
	Pipelined(context.Context, func(redis.Pipeliner) error) ([]redis.Cmder, error)
}, key string) error {
	k := c.expect(key)
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.settle(key, nil)
	}()
	_, err := on.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, key, "", canaryLife)
		pipe.Del(ctx, key)
		return nil
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	k.written = time.Now()
	c.mu.Unlock()
	select {
	case err = <-k.done:
		return err
	case <-c.watchSession.ended:
		return errUnproven
	case <-ctx.Done():
		return ctx.Err()
	}
}

// canaryKey is the beginning of one.
func (r *watchSession) canaryKey() string {
	return r.prefix + canaryMark + strings.ToLower(rand.Text())
}

// proveMembers has each member announce a canary that is written on a new connection, and waits
// until that is received, once in a proofLife. It reports whether there was one. A member that
// no key of the prefix can be at needs none. A server that is full, or can't save, takes no
// canary; it is believed if one was received earlier in the watcher's life.
func (r *watchSession) proveMembers(ctx context.Context) (sent bool, err error) {
	var all sync.WaitGroup
	errs := make([]error, len(r.members))
	for n, m := range r.members {
		if !m.due && time.Since(m.proven) < r.proofLife {
			continue
		}
		key := r.topology.key(m, r.canaryKey())
		if key == "" {
			continue
		}
		sent = true
		if !m.proven.IsZero() {
			m.renew()
		}
		all.Go(func() {
			errs[n] = guarded(func() error {
				began := time.Now()
				err := m.connection.sendCanary(ctx, m.probe.client, key)
				switch {
				case says(err, full) && r.received && m.probe.remote() == m.connection.remote():
				case errors.Is(err, errDeaf) && !m.proven.IsZero():
					return errMoved
				case err != nil:
					return asUnsupported(err)
				}
				m.proven, m.due = began, false
				return nil
			})
		})
	}
	all.Wait()
	err = errors.Join(errs...)
	r.received = r.received || sent && err == nil
	return sent, err
}

// vet proves a new connection for commands. One that doesn't lead to the server that
// announces ends the watch session.
func (r *watchSession) vet(ctx context.Context, conn *redis.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	err := r.members[0].connection.sendCanary(ctx, conn, r.canaryKey())
	switch {
	case err == nil, says(err, full):
		return nil
	case errors.Is(err, errDeaf), fault.IsReply(err):
		r.cancel(errMoved)
		return errUnproven
	default:
		return err
	}
}

// keyIn is a key with some beginning in a slot that is wanted, "" if none is found.
func keyIn(start string, wanted func(slot int) bool) string {
	tries := canaryTries
	if tagOf(start) != start {
		tries = 1 // all keys are in one slot
	}
	for n := range tries {
		if key := start + strconv.Itoa(n); wanted(slotOf(key)) {
			return key
		}
	}
	return ""
}

package redisstore

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// canaryMark and chance follow the prefix, so that the key is nobody's.
	canaryMark = "strata-canary-"

	// canaryLife ends what is left where the connection breaks after the first command.
	canaryLife = time.Second

	// canaryTries bounds the search for a key of some slot.
	canaryTries = 1 << 17
)

// canary is a key that is written to hear its announcement: a proxy may accept CLIENT
// TRACKING, and keep to itself what the server announces.
//
// key is set at construction. The channel's reader ends the wait for it with heard, and
// counts pongs; written is when the server had answered, nil before, and is atomic.
type canary struct {
	key     string
	heard   chan error
	written atomic.Pointer[time.Time]
	pongs   int
}

// hear looks for the canary in what is announced.
func (c *channel) hear(keys []any) {
	k := c.canary.Load()
	if k == nil {
		return
	}
	for _, key := range keys {
		if key == k.key {
			c.heard(k, nil)
			return
		}
	}
}

// pass takes note of a pong, given when its ping was about to be sent: the canary should
// have been heard before it. One pong more is waited for than should be needed.
func (c *channel) pass(sent time.Time) {
	k := c.canary.Load()
	if k == nil {
		return
	}
	if written := k.written.Load(); written != nil && sent.After(*written) {
		if k.pongs++; k.pongs > 1 {
			c.heard(k, errDeaf)
		}
	}
}

func (c *channel) heard(k *canary, err error) {
	c.canary.Store(nil)
	k.heard <- err
}

// audition has each member that hasn't yet announce a canary, and waits until it is heard.
// It reports whether there was one. A member that no key of the prefix can be at needs
// none. A server that is full, or can't save, takes no canary; it is believed if one was
// heard earlier in the watcher's life.
func (r *round) audition(ctx context.Context) (sung bool, err error) {
	var all sync.WaitGroup
	errs := make([]error, len(r.members))
	for n, m := range r.members {
		if m.proven {
			continue
		}
		if key := r.topology.key(m, r.prefix+canaryMark+strings.ToLower(rand.Text())); key != "" {
			sung = true
			all.Go(func() { errs[n] = m.sing(ctx, key) })
		}
	}
	all.Wait()
	for n, m := range r.members {
		switch err := errs[n]; {
		case err != nil && !(says(err, full) && r.heard):
			return sung, err
		case sung:
			m.proven = true
		}
	}
	r.heard = r.heard || sung
	return sung, nil
}

// sing writes a key, removes it at once, and waits until its announcement is heard.
func (m *member) sing(ctx context.Context, key string) error {
	k := &canary{key: key, heard: make(chan error, 1)}
	m.canary.Store(k)
	_, err := m.probe.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, key, "", canaryLife)
		pipe.Del(ctx, key)
		return nil
	})
	if err != nil {
		m.canary.Store(nil)
		return able(err)
	}
	written := time.Now()
	k.written.Store(&written)
	select {
	case err = <-k.heard:
		return err
	case <-ctx.Done():
		return ctx.Err()
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

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// load is the workers of a node in one round. stop ends them; each fills its own
// client, which halt reads once they have ended.
type load struct {
	stop    chan struct{}
	workers sync.WaitGroup
	clients []*client
}

const (
	// zipf is the exponent of the users' shares: the busiest of 100 has about a fifth.
	zipf = 1.1

	visitors    = 60 // more readers of each node, of a request a second each
	ownSessions = 4  // sessions that one node alone uses, of each node, for the linearizability check
)

// sessionID is the id of a user in one generation.
func sessionID(round, slot int, generation uint64) string {
	return fmt.Sprintf("r%d-s%d-g%d", round, slot, generation)
}

// ownID is a session that one node alone uses.
func ownID(round, node, n int) string { return fmt.Sprintf("r%d-%s%d-%d", round, ownMark, node, n) }

// ownMark and foreignMark distinguish sessions by their ids.
const (
	ownMark     = "own"
	foreignMark = "foreign"
)

func isOwn(id string) bool { return strings.Contains(id, ownMark) }

// foreignID is a session that a program without Strata alone changes.
func foreignID(round, writer int, generation uint64) string {
	return fmt.Sprintf("r%d-%s%d-g%d", round, foreignMark, writer, generation)
}

// writers is how many numbers each node has for its workers, and crowdWriters the first of
// those of its crowd.
const (
	writers      = 1000
	crowdWriters = 500
)

// begin logs in this node's share of the users.
func (n *node) begin(round, nodes int) ([]Record, error) {
	c := newClient(n.Node, (n.Node+1)*writers+writers-1, n.manager)
	for slot := n.Node; slot < n.Slots-foreigners; slot += nodes {
		id := sessionID(round, slot, n.slots.Generation(slot))
		if err := insist("a user can't log in before the load begins", func() bool {
			if c.login(id) == OK {
				return true
			}
			c.logout(id)
			return false
		}); err != nil {
			return nil, err
		}
	}
	return c.records, nil
}

// insist repeats a request, without any fault, until it succeeds. A machine that stalls for longer than a timeout
// fails it, and those that come next, as a chain soon knows that its store doesn't reply.
func insist(otherwise string, request func() bool) error {
	for end := now() + int64(time.Minute); !request(); wait(100 * time.Millisecond) {
		if now() > end {
			return errors.New(otherwise)
		}
	}
	return nil
}

func (n *node) start(round, nodes int) *load {
	l := &load{stop: make(chan struct{})}
	for worker := range n.Workers {
		c := newClient(n.Node, (n.Node+1)*writers+worker, n.manager)
		l.clients = append(l.clients, c)
		random := rand.New(rand.NewPCG(n.Seed, uint64(round)<<32|uint64(c.writer)))
		l.workers.Go(func() { n.work(l, c, round, nodes, random) })
	}
	for member := range n.Crowd {
		c := newClient(n.Node, (n.Node+1)*writers+crowdWriters+member, n.manager)
		l.clients = append(l.clients, c)
		random := rand.New(rand.NewPCG(n.Seed, uint64(round)<<32|uint64(c.writer)))
		l.workers.Go(func() { n.crowd(l, c, round, nodes, random) })
	}
	for visitor := range visitors {
		c := newClient(n.Node, 0, n.manager)
		l.clients = append(l.clients, c)
		random := rand.New(rand.NewPCG(n.Seed, uint64(round)<<32|uint64((n.Node+1)*writers+n.Workers+visitor)))
		l.workers.Go(func() { n.visit(l, c, round, random) })
	}
	return l
}

// visit reads now and then. Requests don't wait for the responses of others, so that new
// ones must come while all workers are held up.
func (n *node) visit(l *load, c *client, round int, random *rand.Rand) {
	users := rand.NewZipf(random, zipf, 1, uint64(n.Slots-foreigners-1))
	for {
		timer := time.NewTimer(some(random, 500*time.Millisecond, 1500*time.Millisecond))
		select {
		case <-l.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		slot := int(users.Uint64())
		c.read(sessionID(round, slot, n.back(slot, random)))
	}
}

// The load of a node's crowd: requests of each member, their number in a burst, and users.
const (
	crowdUsers    = 3
	crowdRequests = 1500
	crowdBurst    = 50
)

// crowd meets that of the other nodes at few sessions, without a pause between the requests
// of a burst: results overlap there that a steady rate keeps apart. It is bounded, so that
// the record is.
func (n *node) crowd(l *load, c *client, round, nodes int, random *rand.Rand) {
	for done := 0; done < crowdRequests; done++ {
		select {
		case <-l.stop:
			return
		default:
		}
		if done%crowdBurst == 0 {
			wait(some(random, 50*time.Millisecond, 250*time.Millisecond))
		}
		slot := random.IntN(crowdUsers)
		generation := n.slots.Generation(slot)
		switch what := random.IntN(100); {
		case what < 60:
			c.read(sessionID(round, slot, generation))
		case what < 98:
			if loggedIn, _ := c.change(sessionID(round, slot, generation)); !loggedIn {
				n.relogin(c, round, slot, generation, random)
			}
		default:
			n.relogin(c, round, slot, generation, random)
		}
	}
}

func (l *load) halt() (answer Answer) {
	close(l.stop)
	l.workers.Wait()
	for _, c := range l.clients {
		answer.Records = append(answer.Records, c.records...)
		answer.Timings = append(answer.Timings, c.timings...)
		answer.Failed += c.failed
	}
	return answer
}

// work serves requests at a steady rate, or as fast as it can where that is slower.
func (n *node) work(l *load, c *client, round, nodes int, random *rand.Rand) {
	users := rand.NewZipf(random, zipf, 1, uint64(n.Slots-foreigners-1))
	tick := time.NewTicker(time.Second / time.Duration(n.Rate))
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		switch what := random.IntN(1000); {
		case what < 60:
			n.briefSession(c, round, nodes, random)
		case what < 110:
			slot := n.Slots - 1 - random.IntN(foreigners)
			c.read(foreignID(round, n.Slots-1-slot, n.back(slot, random)))
		case what < 200:
			n.ownSession(c, ownID(round, n.Node, random.IntN(ownSessions)), random)
		case what < 870:
			slot := int(users.Uint64())
			c.read(sessionID(round, slot, n.back(slot, random)))
		case what < 990:
			slot := int(users.Uint64())
			generation := n.slots.Generation(slot)
			if loggedIn, _ := c.change(sessionID(round, slot, generation)); !loggedIn {
				n.relogin(c, round, slot, generation, random)
			}
		default:
			slot := int(users.Uint64())
			n.relogin(c, round, slot, n.slots.Generation(slot), random)
		}
	}
}

// back is the user's generation, and sometimes the one before: that of a request which
// was under way, or of a cookie that was kept.
func (n *node) back(slot int, random *rand.Rand) uint64 {
	generation := n.slots.Generation(slot)
	if generation > 0 && random.IntN(10) == 0 {
		generation--
	}
	return generation
}

// relogin logs a user out and in: mostly under a new id, sometimes under the same one.
func (n *node) relogin(c *client, round, slot int, generation uint64, random *rand.Rand) {
	if !n.slots.Hold(slot, generation) {
		return
	}
	out := c.logout(sessionID(round, slot, generation))
	if out != OK || random.IntN(4) != 0 {
		generation++
	}
	_ = c.login(sessionID(round, slot, generation))
	n.slots.Release(slot, generation)
}

// ownSession is a request to a session of this node alone, with many writes.
func (n *node) ownSession(c *client, id string, random *rand.Rand) {
	switch what := random.IntN(100); {
	case what < 50:
		c.read(id)
	case what < 95:
		if loggedIn, _ := c.change(id); !loggedIn {
			c.login(id)
		}
	default:
		c.logout(id)
	}
}

func (n *node) readAll(ids []string) ([]Record, error) {
	c := newClient(n.Node, 0, n.manager)
	for _, id := range ids {
		if err := insist("a session can't be read although all faults are healed", func() bool {
			_, ok := c.read(id)
			return ok
		}); err != nil {
			return nil, err
		}
	}
	return c.records, nil
}

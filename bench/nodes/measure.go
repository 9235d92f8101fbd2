package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// measure serves requests of this node's share of the users as fast as it can, 95 % of them reads.
func (n *node) measure(ask Ask) error {
	var workers sync.WaitGroup
	errs := make([]error, n.Workers)
	for worker := range n.Workers {
		workers.Go(func() {
			c := newClient(n.Node, (n.Node+1)*writers+worker, n.manager)
			random := rand.New(rand.NewPCG(n.Seed, uint64(worker)))
			users := rand.NewZipf(random, zipf, 1, uint64(n.Slots-foreigners-1))
			share := ask.Count*(worker+1)/n.Workers - ask.Count*worker/n.Workers
			for done := 0; done < share && errs[worker] == nil; {
				slot := int(users.Uint64())
				if slot%ask.Nodes != n.Node {
					continue
				}
				done++
				id := sessionID(ask.Round, slot, n.slots.Generation(slot))
				reads := random.IntN(100) < 95
				errs[worker] = insist("a request fails without any fault", func() (ok bool) {
					if reads {
						_, ok = c.read(id)
						return ok
					}
					return c.changes(id)
				})
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

// Why memory doesn't serve a session that it holds: the sources vouch too late, or it is read again too
// late. Both take time.
const (
	unvouched = "unvouched"
	unread    = "not yet read again"
)

// refusals are all reasons.
var refusals = map[telemetry.Count]string{
	telemetry.RefusedInvalidated: "invalidated",
	telemetry.RefusedExpired:     "expired",
	telemetry.RefusedUnvouched:   unvouched,
	telemetry.RefusedUnread:      unread,
}

// own writes and reads in turn, and returns how many of the reads asked the server, and why.
func (n *node) own(ask Ask) (misses map[string]int, err error) {
	tier, ok := layer.As[*local.Storage](n.chain)
	if !ok {
		return nil, errors.New("the chain has no memory")
	}
	c := newClient(n.Node, (n.Node+1)*writers, n.manager)
	id := ask.IDs[0]
	misses = map[string]int{}
	for range ask.Count {
		if err := insist("a change fails without any fault", func() bool { return c.changes(id) }); err != nil {
			return nil, err
		}
		before := map[telemetry.Count]int64{}
		for refusal := range refusals {
			before[refusal] = tier.Tally().Total(refusal)
		}
		if read, err := tier.Load(context.Background(), id, ttl); err == nil && read.Outcome == tiers.OutcomeHit {
			continue
		}
		why := "not in memory"
		for refusal, name := range refusals {
			if tier.Tally().Total(refusal) > before[refusal] {
				why = name
			}
		}
		misses[why]++
	}
	return misses, nil
}

// write writes a version of an id; the record says when it was acknowledged.
func (n *node) write(ask Ask) ([]Record, error) {
	c, id := newClient(n.Node, versionWriter, n.manager), ask.IDs[0]
	err := insist("a write fails without any fault", func() bool {
		c.versions[id] = int64(ask.Count) - 1
		if ask.Count == 1 {
			return c.login(id) == OK
		}
		return c.changes(id)
	})
	if err != nil {
		return nil, err
	}
	return c.records[len(c.records)-1:], nil
}

// changes reports whether a change was made.
func (c *client) changes(id string) bool {
	_, outcome := c.change(id)
	return outcome == OK
}

// versionWriter is the writer whose versions are followed.
const versionWriter = 9

// follow reads an id until it shows a version, and returns that read.
func (n *node) follow(ask Ask) ([]Record, error) {
	c := newClient(n.Node, 0, n.manager)
	tick := time.NewTicker(20 * time.Microsecond)
	defer tick.Stop()
	for end := now() + int64(30*time.Second); now() < end; <-tick.C {
		c.records = nil
		r, ok := c.read(ask.IDs[0])
		if ok && r.version(versionWriter) >= int64(ask.Count) {
			return c.records, nil
		}
	}
	return nil, fmt.Errorf("a change isn't seen by node %d within 30 s", n.Node)
}

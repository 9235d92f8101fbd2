package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// loader returns how a read was served.
type loader interface {
	Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error)
}

// tolerated is how many requests of a worker may fail where the machine stalls.
const tolerated = 10

// measure serves requests as fast as it can, 95 % of them reads, and returns how many.
func (n *node) measure(ask Ask) (float64, error) {
	var workers sync.WaitGroup
	errs := make([]error, n.Workers)
	for worker := range n.Workers {
		workers.Go(func() {
			c := newClient(n.Node, (n.Node+1)*writers+worker, n.manager)
			random := rand.New(rand.NewPCG(n.Seed, uint64(worker)))
			users := rand.NewZipf(random, zipf, 1, uint64(n.Slots-foreigners-1))
			for done, failed := 0, 0; done < ask.Count/n.Workers; {
				slot := int(users.Uint64())
				if ask.Sticky && slot%ask.Nodes != n.Node {
					continue
				}
				done++
				id := sessionID(ask.Round, slot, n.slots.Generation(slot))
				if random.IntN(100) < 95 {
					if _, ok := c.read(id); ok {
						continue
					}
				} else if _, outcome := c.change(id); outcome == OK {
					continue
				}
				if failed++; failed > tolerated {
					errs[worker] = errors.New("requests failed without any fault")
					return
				}
			}
		})
	}
	workers.Wait()
	return float64(ask.Count / n.Workers * n.Workers), errors.Join(errs...)
}

// own writes and reads in turn, and returns how many of the reads asked the server.
func (n *node) own(ask Ask) (misses float64, err error) {
	c := newClient(n.Node, (n.Node+1)*writers, n.manager)
	id := ask.IDs[0]
	for done, failed := 0, 0; done < ask.Count; done++ {
		if _, outcome := c.change(id); outcome != OK {
			if failed++; failed > tolerated {
				return 0, errors.New("changes failed without any fault")
			}
			continue
		}
		read, err := n.stack.Unwrap().(loader).Load(context.Background(), id, ttl)
		if err != nil {
			return 0, err
		}
		if read.Outcome != tiers.OutcomeHit {
			misses++
		}
	}
	return misses, nil
}

// write writes a version of an id; the record says when it was acknowledged.
func (n *node) write(ask Ask) ([]Record, error) {
	c := newClient(n.Node, versionWriter, n.manager)
	c.versions[ask.IDs[0]] = int64(ask.Count) - 1
	if ask.Count == 1 {
		if c.login(ask.IDs[0]) != OK {
			return nil, errors.New("a log-in failed without any fault")
		}
		return c.records, nil
	}
	if _, outcome := c.change(ask.IDs[0]); outcome != OK {
		return nil, errors.New("a change failed without any fault")
	}
	return c.records[1:], nil
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

package coalesce

import (
	"container/heap"
	"container/list"
	"math"
	"sync"
	"time"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/crew"
)

const (
	pipelines    = 4       // batches that are at one node of a batching store at once
	pipelineSize = 128     // commits in one of them, at most
	large        = 1 << 20 // bytes from which on a write goes alone: a server that doesn't take it may close the connection
	writers      = 16      // pending commits at once at another store
	waitedFor    = 1024    // and those that callers wait for
	removers     = 16      // removals at one node at once

	finestGrain   = time.Millisecond
	coarsestGrain = 25 * time.Millisecond
)

// grainOf returns how early a commit may go that is due within the interval, with one that is due: otherwise
// each would make a round trip of its own.
func grainOf(interval time.Duration) time.Duration {
	return max(min(interval/8, coarsestGrain), interval/1000, finestGrain)
}

// schedule brings session queues to the store when they are due. Each node of the store has
// workers of its own, and so have removals, so that a node that hangs delays no other.
//
// The first block is set at construction, and crew and alarm guard themselves. mu, which is the queues',
// guards grain and the rest. It is held when a method is called, except work and bring; ring and board take
// it themselves.
type schedule struct {
	mu       *sync.Mutex
	most     int // workers for commits at one node
	together int // commits that go to the store in one call
	began    time.Time
	circuit  func(node string) *circuit.Circuit
	fly      func(k *sessionQueue) *write                 // takes the queue's first write
	carry    func(writes []*write, timeout time.Duration) // brings writes to the store; as a probe if timeout isn't 0
	crew     crew.Crew
	alarm    *time.Timer // rings when a queue is due, or a node may be probed

	grain  time.Duration
	nodes  map[string]*node // by name
	later  due              // queues that aren't due yet
	failed due              // and those whose first write has failed: they aren't rushed, and don't go early
	rings  time.Duration    // when the alarm does, since the schedule began
	closed bool
}

func (s *schedule) init(mu *sync.Mutex) {
	s.mu, s.began, s.nodes, s.rings = mu, time.Now(), map[string]*node{}, math.MaxInt64
	s.alarm = time.AfterFunc(time.Hour, s.ring)
	s.alarm.Stop() // until a queue waits
}

// due holds queues by the moments at which they are due, the next in front.
type due []*sessionQueue

func (d due) Len() int           { return len(d) }
func (d due) Less(i, j int) bool { return d[i].at < d[j].at }

func (d due) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

func (d *due) Push(k any) {
	k.(*sessionQueue).index = len(*d)
	*d = append(*d, k.(*sessionQueue))
}

func (d *due) Pop() any {
	last := len(*d) - 1
	k := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return k
}

// node holds the queues that are due at one node of the store, and its workers.
type node struct {
	circuit  *circuit.Circuit
	removals list.List // of *sessionQueue, as the other two
	awaited  list.List // with changes that callers wait for
	pending  list.List // and with pending ones
	removing line
	writing  line
	probing  bool // one of pending is to show whether the node is back
	probes   int  // that have failed since it was last
}

// line is the workers for one kind of calls.
type line struct {
	running  int
	starting int // of these, those that have taken no queue yet
}

// arrange has the queue wait where its first write belongs, and starts a worker if one is needed.
func (s *schedule) arrange(k *sessionQueue) {
	n := s.node(k.node)
	switch first := k.first(); {
	case first == nil || k.flying != nil:
		s.move(k, nil)
	case first.delta == nil:
		s.move(k, &n.removals)
	case !first.pending || k.urgent:
		s.move(k, &n.awaited)
	case s.closed || !time.Now().Before(first.at):
		s.move(k, &n.pending)
	case first.attempts > 0:
		s.postpone(k, &s.failed, first.at)
	default:
		s.postpone(k, &s.later, first.at)
	}
	s.staff(n)
}

// postpone has a queue wait until it is due.
func (s *schedule) postpone(k *sessionQueue, to *due, at time.Time) {
	moment := at.Sub(s.began)
	if k.until == to && k.at == moment {
		return
	}
	s.move(k, nil)
	k.until, k.at = to, moment
	heap.Push(to, k)
	s.wake(moment)
}

// wake has the alarm ring by a moment.
func (s *schedule) wake(moment time.Duration) {
	if moment < s.rings {
		s.rings = moment
		s.alarm.Reset(moment - time.Since(s.began))
	}
}

// ring has all go that is due, and sets the alarm anew.
func (s *schedule) ring() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rings = math.MaxInt64
	now := time.Since(s.began)
	s.release(&s.later, now+s.grain)
	s.release(&s.failed, now+1)
	for _, d := range []due{s.later, s.failed} {
		if len(d) > 0 {
			s.wake(d[0].at)
		}
	}
}

// rush has the queues go that aren't due yet.
func (s *schedule) rush() { s.release(&s.later, math.MaxInt64) }

// release has the queues go that are due before a moment.
func (s *schedule) release(from *due, moment time.Duration) {
	for len(*from) > 0 && (*from)[0].at < moment {
		k := (*from)[0]
		s.move(k, &s.node(k.node).pending)
	}
	for _, n := range s.nodes {
		s.staff(n)
	}
}

// move has a queue wait in a list, or in none.
func (s *schedule) move(k *sessionQueue, to *list.List) {
	if k.until != nil {
		heap.Remove(k.until, k.index)
		k.until = nil
	}
	if k.in == to {
		return
	}
	if k.in != nil {
		k.in.Remove(k.place)
	}
	if k.in = to; to != nil {
		k.place = to.PushBack(k)
	}
}

// stands reports whether the node's circuit is closed.
func (n *node) stands() bool { return n.circuit.Until().IsZero() }

func (s *schedule) node(name string) *node {
	n := s.nodes[name]
	if n == nil {
		n = &node{circuit: s.circuit(name)}
		s.nodes[name] = n
	}
	return n
}

// staff starts a worker for each queue that is due, up to the bound. While the node is away, one pending
// write probes it now and then.
func (s *schedule) staff(n *node) {
	if s.closed {
		return
	}
	s.start(n, &n.removing, n.removals.Len(), removers)
	due := n.awaited.Len()
	switch until := n.circuit.Until(); {
	case until.IsZero():
		n.probes = 0
		due += min(n.pending.Len(), writers)
	case n.probing || n.pending.Len() == 0:
	case time.Now().Before(until):
		s.wake(until.Sub(s.began))
	default:
		due++
	}
	s.start(n, &n.writing, due, s.most)
}

func (s *schedule) start(n *node, l *line, due, most int) {
	for l.starting < due && l.running < most {
		l.running++
		l.starting++
		s.crew.Go(func() { s.work(n, l) })
	}
}

// work brings writes that are due to the store until none is: one at a time, or as many as wait
// at that moment if the store takes batches. No write waits for others to come: they meet because
// all workers are busy.
func (s *schedule) work(n *node, l *line) {
	for s.bring(n, l) {
	}
}

// bring returns false if nothing is due.
func (s *schedule) bring(n *node, l *line) (brought bool) {
	writes, probe := s.board(n, l)
	if len(writes) == 0 {
		return false
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if probe > 0 {
			n.probing = false
		}
		if s.staff(n); !brought {
			s.crew.Go(func() { s.work(n, l) }) // the store has ended this goroutine
		}
	}()
	s.carry(writes, probe)
	return true
}

// board takes the first writes of queues that are due. A removal goes alone, and so do a write that may
// panic, a large one, and a probe, which gets less time. If none is due, the worker ends.
func (s *schedule) board(n *node, l *line) (writes []*write, probe time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.starting = max(0, l.starting-1)
	most := s.together
	take := func(from *list.List) {
		for first := from.Front(); first != nil && len(writes) < most; first = from.Front() {
			k := first.Value.(*sessionQueue)
			if first := k.first(); first.isLone() || first.bytes >= large {
				if most = 1; len(writes) > 0 {
					return
				}
			}
			s.move(k, nil)
			k.urgent = false
			writes = append(writes, s.fly(k))
		}
	}
	switch until := n.circuit.Until(); {
	case s.closed:
	case l == &n.removing:
		most = 1
		take(&n.removals)
	default:
		if take(&n.awaited); until.IsZero() {
			take(&n.pending)
		} else if len(writes) == 0 && !n.probing && !time.Now().Before(until) {
			most = 1
			if take(&n.pending); len(writes) > 0 {
				probe = time.Second << min(n.probes, 4)
				n.probing, n.probes = true, n.probes+1
			}
		}
	}
	if len(writes) == 0 {
		l.running--
		s.staff(n) // sets the alarm, if the node has gone away meanwhile
	}
	return writes, probe
}

// close keeps workers from bringing anything more to the store.
func (s *schedule) close() {
	s.closed = true
	s.alarm.Stop()
	s.release(&s.later, math.MaxInt64)
	s.release(&s.failed, math.MaxInt64)
	s.crew.Close()
}

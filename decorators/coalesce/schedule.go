package coalesce

import (
	"container/list"
	"sync"
	"time"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/crew"
)

const (
	pipelines    = 4    // batches that are at one node of a batching store at once
	pipelineSize = 128  // commits in one of them, at most
	writers      = 16   // pending commits at once at another store
	waitedFor    = 1024 // and those that callers wait for
	removers     = 16   // removals at one node at once

	finestGrain   = time.Millisecond
	coarsestGrain = 25 * time.Millisecond
)

// grainOf returns how early a commit may go that is due within the interval. An interval has at
// most a thousand moments.
func grainOf(interval time.Duration) time.Duration {
	return max(min(interval/8, coarsestGrain), interval/1000, finestGrain)
}

// schedule brings session queues to the store when they are due. Each node of the store has
// workers of its own, and so have removals, so that a node that hangs delays no other.
//
// The first block is set at construction, and crew guards itself. mu, which is the queues',
// guards grain and the rest. It is held when a method is called, except work and bring; board takes
// it itself.
type schedule struct {
	mu       *sync.Mutex
	most     int // workers for commits at one node
	together int // commits that go to the store in one call
	began    time.Time
	circuit  func(node string) *circuit.Circuit
	fly      func(k *sessionQueue) *write                 // takes the queue's first write
	carry    func(writes []*write, timeout time.Duration) // brings writes to the store; as a probe if timeout isn't 0
	crew     crew.Crew

	grain  time.Duration    // how early a commit may go, with others
	nodes  map[string]*node // by name
	slots  map[moment]*slot
	closed bool
}

func scheduleOf(mu *sync.Mutex, circuits func(node string) *circuit.Circuit, fly func(*sessionQueue) *write,
	carry func([]*write, time.Duration)) schedule {
	return schedule{mu: mu, together: 1, began: time.Now(), circuit: circuits, fly: fly, carry: carry,
		nodes: map[string]*node{}, slots: map[moment]*slot{}}
}

// node holds the queues that are due at one node of the store, and its workers.
type node struct {
	circuit  *circuit.Circuit
	removals list.List // of *sessionQueue, as the other two
	awaited  list.List // with changes that callers wait for
	pending  list.List // and with pending ones
	removing line
	writing  line
	alarm    *time.Timer // rings when the node may be probed
	probing  bool        // one of pending is to show whether the node is back
	probes   int         // that have failed since it was last
}

// line is the workers for one kind of calls.
type line struct {
	running  int
	starting int // of these, those that have taken no queue yet
}

func (l *line) wants(due, most int) bool { return l.starting < due && l.running < most }

// moment is the time at which a slot is due, since the schedule began. Writes that have failed
// have slots of their own, which aren't rushed.
type moment struct {
	after  time.Duration
	failed bool
}

// slot holds the queues that become due together: without slots each commit would make a round
// trip of its own.
type slot struct {
	queues list.List
	timer  *time.Timer
}

// arrange puts the queue into the list of its first write, and starts a worker if one is needed.
func (s *schedule) arrange(k *sessionQueue) {
	n := s.node(k.node)
	switch first := k.first(); {
	case first == nil || k.flying != nil:
		s.move(k, nil)
	case first.delta == nil:
		s.move(k, &n.removals)
	case !first.pending || k.urgent:
		s.move(k, &n.awaited)
	default:
		s.move(k, s.slot(n, first))
	}
	s.staff(n)
}

// slot returns the list in which a pending write waits for its time. One that has failed doesn't
// go early.
func (s *schedule) slot(n *node, w *write) *list.List {
	m := moment{after: w.at.Sub(s.began).Truncate(s.grain), failed: w.attempts > 0}
	if m.failed {
		m.after += s.grain
	}
	wait := time.Until(s.began.Add(m.after))
	switch at := s.slots[m]; {
	case w.at.IsZero() || wait <= 0 || s.closed:
		return &n.pending
	case at != nil:
		return &at.queues
	}
	at := &slot{}
	at.timer = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ring(m)
	})
	s.slots[m] = at
	return &at.queues
}

// ring queues the writes of a slot that has become due.
func (s *schedule) ring(m moment) {
	at := s.slots[m]
	if at == nil || s.closed {
		return
	}
	at.timer.Stop()
	delete(s.slots, m)
	for first := at.queues.Front(); first != nil; first = at.queues.Front() {
		k := first.Value.(*sessionQueue)
		n := s.node(k.node)
		s.move(k, &n.pending)
		s.staff(n)
	}
}

// rush queues the writes that would have become due later, except those that have failed: they wait for their
// next attempt.
func (s *schedule) rush() {
	for m := range s.slots {
		if !m.failed {
			s.ring(m)
		}
	}
}

// move has a queue wait in a list, or in none.
func (s *schedule) move(k *sessionQueue, to *list.List) {
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
		n.alarm = time.AfterFunc(time.Hour, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.staff(n)
		})
		n.alarm.Stop()
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
	for n.removing.wants(n.removals.Len(), removers) {
		s.start(n, &n.removing)
	}
	due := n.awaited.Len()
	switch until := n.circuit.Until(); {
	case until.IsZero():
		n.probes = 0
		due += min(n.pending.Len(), writers)
	case n.probing || n.pending.Len() == 0:
	case time.Now().Before(until):
		n.alarm.Reset(time.Until(until))
	default:
		due++
	}
	for n.writing.wants(due, s.most) {
		s.start(n, &n.writing)
	}
}

func (s *schedule) start(n *node, l *line) {
	l.running++
	l.starting++
	s.crew.Go(func() { s.work(n, l) })
}

// work brings writes that are due to the store until none is: one at a time, or as many as wait
// at that moment if the store takes batches. No write waits for others to come: they meet because
// all workers are busy.
func (s *schedule) work(n *node, l *line) {
	for writes, probe := s.board(n, l); len(writes) > 0; writes, probe = s.board(n, l) {
		s.bring(n, l, writes, probe)
	}
}

func (s *schedule) bring(n *node, l *line, writes []*write, probe time.Duration) {
	returned := false
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if probe > 0 {
			n.probing = false
		}
		if s.staff(n); !returned {
			s.crew.Go(func() { s.work(n, l) }) // the store has ended this goroutine
		}
	}()
	s.carry(writes, probe)
	returned = true
}

// board takes the first writes of queues that are due. A removal goes alone, and so do a write that may
// panic and a probe, which gets less time. If none is due, the worker ends.
func (s *schedule) board(n *node, l *line) (writes []*write, probe time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.starting = max(0, l.starting-1)
	most := s.together
	take := func(from *list.List) {
		for first := from.Front(); first != nil && len(writes) < most; first = from.Front() {
			k := first.Value.(*sessionQueue)
			if k.first().lone {
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
	for _, at := range s.slots {
		at.timer.Stop()
	}
	for _, n := range s.nodes {
		n.alarm.Stop()
	}
	s.crew.Close()
}

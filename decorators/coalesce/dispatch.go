package coalesce

import (
	"container/heap"
	"container/list"
	"sync"
	"time"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/crew"
)

const (
	pipelines    = 4    // batches that are at one node of a batching store at once
	pipelineSize = 128  // commits in one of them, at most
	writers      = 16   // commits that nobody waits for, at once at another store
	waitedFor    = 1024 // and those that somebody waits for
	removers     = 16   // removals at one node at once
)

// mostEarly bounds how much before its time a commit goes with one that is due. Those of a
// busy node are due one after the other, and would make a round trip each.
const mostEarly = 25 * time.Millisecond

// dispatch brings lanes to the store when they are due, each node of which has workers of
// its own, so that one which hangs delays nobody else. Removals have workers of their own as
// well.
//
// The first block is set at construction, and crew guards itself. mu, which is the lanes',
// guards the rest; all methods but work and ring are called under it.
type dispatch struct {
	mu       *sync.Mutex
	most     int           // workers for commits at one node
	together int           // commits that go to the store in one call
	early    time.Duration // how much before its time a commit may go, with another
	circuit  func(node string) *circuit.Circuit
	fly      func(k *lane) *batch                      // takes the lane's first batch
	carry    func(batches []*batch, try time.Duration) // brings batches to the store, in try where it isn't 0
	idle     func()                                    // the last worker has ended after close
	crew     crew.Crew

	queues  map[string]*queue // by the node's name
	later   schedule
	alarm   *time.Timer
	rings   time.Time // when the alarm does; zero for never
	workers int
	closed  bool
}

// queue is what is due at one node of the store, and its workers.
type queue struct {
	circuit  *circuit.Circuit
	removals list.List // of *lane, as the other two
	awaited  list.List // with changes that somebody waits for
	held     list.List // and with those that nobody does
	removing line
	writing  line
	probing  bool // one of held is to show whether the store is back
	probes   int  // that have failed since it was last
}

// line is the workers for one kind of calls.
type line struct {
	running  int
	starting int // of these, those that have taken no lane yet
}

// arrange sees to it that the lane's first batch goes to the store when it is due.
func (d *dispatch) arrange(k *lane) {
	var first *batch
	if k.flying == nil && len(k.waiting) > 0 {
		first = k.waiting[0]
	}
	q := d.at(k.node)
	switch {
	case first == nil:
		d.move(q, k, nil)
	case first.delta == nil:
		d.move(q, k, &q.removals)
	case first.hold == nil || k.urgent:
		d.move(q, k, &q.awaited)
	case !time.Now().Before(first.hold.at):
		d.move(q, k, &q.held)
	default:
		d.move(q, k, nil)
		d.appoint(k, first.hold.at)
	}
}

// move has a lane wait in a list of its node, or in none.
func (d *dispatch) move(q *queue, k *lane, to *list.List) {
	d.cancel(k)
	if k.in == to {
		return
	}
	if k.in != nil {
		k.in.Remove(k.place)
	}
	if k.in = to; to != nil {
		k.place = to.PushBack(k)
		d.staff(q)
	}
}

// standing reports whether a node of the store isn't known to be away.
func (d *dispatch) standing(node string) bool { return d.at(node).circuit.Until().IsZero() }

func (d *dispatch) at(node string) *queue {
	q := d.queues[node]
	if q == nil {
		q = &queue{circuit: d.circuit(node)}
		d.queues[node] = q
	}
	return q
}

// staff starts a worker for each lane that is due, up to the bound. While the store is away,
// what nobody waits for sends one now and then to see.
func (d *dispatch) staff(q *queue) {
	if d.closed {
		return
	}
	for q.removing.wants(q.removals.Len(), removers) {
		d.start(q, &q.removing)
	}
	due, held := q.awaited.Len(), min(q.held.Len(), writers)
	switch wait := q.wait(); {
	case held == 0:
	case wait > 0:
		d.ringIn(wait)
	case q.circuit.Until().IsZero():
		due += held
	default:
		due++
	}
	for q.writing.wants(due, d.most) {
		d.start(q, &q.writing)
	}
}

func (l *line) wants(due, most int) bool { return l.starting < due && l.running < most }

// wait is how long what is held waits for the store, which is away.
func (q *queue) wait() time.Duration {
	until := q.circuit.Until()
	switch {
	case until.IsZero():
		q.probes = 0
		return 0
	case q.probing:
		return circuit.Pause
	default:
		return max(0, time.Until(until))
	}
}

func (d *dispatch) start(q *queue, l *line) {
	l.running++
	l.starting++
	d.workers++
	d.crew.Go(func() { d.work(q, l) })
}

// work takes what is due to the store until nothing is: one batch, or as many as wait
// at that moment where the store takes them together. Nobody is made to wait for others
// to come: commits meet because all workers are busy.
func (d *dispatch) work(q *queue, l *line) {
	over := false
	defer func() {
		if !over {
			d.crew.Go(func() { d.work(q, l) }) // the store has ended this goroutine
		}
	}()
	for {
		batches, try := d.board(q, l)
		if len(batches) == 0 {
			break
		}
		d.bring(q, batches, try)
	}
	over = true
	d.mu.Lock()
	d.workers--
	last, idle := d.closed && d.workers == 0, d.idle
	d.mu.Unlock()
	if last {
		idle()
	}
}

func (d *dispatch) bring(q *queue, batches []*batch, try time.Duration) {
	defer func() { // also where the store ends the goroutine
		d.mu.Lock()
		defer d.mu.Unlock()
		if try > 0 {
			q.probing = false
		}
		d.staff(q)
	}()
	d.carry(batches, try)
}

// board takes the first batches of lanes that are due. A removal goes alone, and so do what
// may panic and what is to show whether the store is back, which gets less time. Where none is
// due, the worker ends.
func (d *dispatch) board(q *queue, l *line) (flying []*batch, try time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.starting = max(0, l.starting-1)
	take := func(from *list.List, most int) {
		for first := from.Front(); first != nil && len(flying) < most; first = from.Front() {
			k := first.Value.(*lane)
			lone := k.waiting[0].lone
			if lone && len(flying) > 0 {
				return
			}
			from.Remove(first)
			k.in, k.urgent = nil, false
			if flying = append(flying, d.fly(k)); lone {
				most = 0
			}
		}
	}
	open := !q.circuit.Until().IsZero()
	switch {
	case d.closed:
	case l == &q.removing:
		take(&q.removals, 1)
	default:
		take(&q.awaited, d.together)
		switch alone := len(flying) > 0 && flying[0].lone; {
		case alone:
		case !open:
			take(&q.held, d.together)
		case len(flying) == 0 && q.wait() == 0:
			if take(&q.held, 1); len(flying) > 0 {
				try = time.Second << min(q.probes, 4)
				q.probing, q.probes = true, q.probes+1
			}
		}
	}
	if len(flying) == 0 {
		l.running--
		d.staff(q) // the store may have gone away meanwhile: then the alarm is to ring
	}
	return flying, try
}

// schedule is the lanes whose first batch isn't due yet, the next one first.
type schedule []*lane

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].at.Before(s[j].at) }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].number, s[j].number = i+1, j+1
}
func (s *schedule) Push(a any) {
	*s = append(*s, a.(*lane))
	(*s)[len(*s)-1].number = len(*s)
}
func (s *schedule) Pop() any {
	last := len(*s) - 1
	k := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	k.number = 0
	return k
}

func (d *dispatch) appoint(k *lane, at time.Time) {
	switch k.at = at; {
	case k.number > 0:
		heap.Fix(&d.later, k.number-1)
	default:
		heap.Push(&d.later, k)
	}
	d.ringIn(time.Until(d.later[0].at))
}

func (d *dispatch) cancel(k *lane) {
	if k.number > 0 {
		heap.Remove(&d.later, k.number-1)
	}
}

// ringIn sets the alarm, unless it rings sooner.
func (d *dispatch) ringIn(wait time.Duration) {
	at := time.Now().Add(wait)
	if d.closed || !d.rings.IsZero() && !at.Before(d.rings) {
		return
	}
	d.rings = at
	if d.alarm == nil {
		d.alarm = time.AfterFunc(wait, d.ring)
	} else {
		d.alarm.Reset(wait)
	}
}

// ring queues what has become due, and what is about to be.
func (d *dispatch) ring() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rings = time.Time{}
	for soon := time.Now().Add(d.early); len(d.later) > 0 && !soon.Before(d.later[0].at); {
		k := heap.Pop(&d.later).(*lane)
		q := d.at(k.node)
		d.move(q, k, &q.held)
	}
	for _, q := range d.queues {
		d.staff(q)
	}
	if len(d.later) > 0 {
		d.ringIn(time.Until(d.later[0].at))
	}
}

// rush queues what would have become due later, but for what has failed: that waits for its
// next attempt.
func (d *dispatch) rush() {
	var failed schedule
	for _, k := range d.later {
		k.number = 0
		if k.waiting[0].hold.attempts > 0 {
			failed = append(failed, k)
			k.number = len(failed)
		} else {
			q := d.at(k.node)
			d.move(q, k, &q.held)
		}
	}
	d.later = failed
	heap.Init(&d.later)
}

// close takes nothing to the store any more, and reports whether a worker is under way.
func (d *dispatch) close() (working bool) {
	d.closed = true
	if d.alarm != nil {
		d.alarm.Stop()
	}
	d.crew.Close()
	return d.workers > 0
}

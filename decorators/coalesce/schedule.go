package coalesce

import (
	"container/heap"
	"time"
)

// schedule is the lanes whose first batch isn't due yet, the next one first. Entries
// of lanes that went earlier stay until their time; see lane.scheduled.
type schedule []appointment

type appointment struct {
	at time.Time
	k  *lane
}

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].at.Before(s[j].at) }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(a any)        { *s = append(*s, a.(appointment)) }
func (s *schedule) Pop() any {
	last := len(*s) - 1
	a := (*s)[last]
	(*s)[last] = appointment{}
	*s = (*s)[:last]
	return a
}

// arrange sees to it that the lane's first batch goes to the store when it is due, and
// gives an empty lane up. It is called under mu, as all that follows is.
func (l *lanes) arrange(k *lane) {
	switch {
	case k.flying != nil || k.queued:
	case len(k.waiting) == 0:
		delete(l.lanes, k.id)
		k.scheduled = time.Time{}
	case k.waiting[0].hold == nil || !time.Now().Before(k.waiting[0].hold.at):
		l.queue(k)
	case !k.scheduled.Equal(k.waiting[0].hold.at):
		k.scheduled = k.waiting[0].hold.at
		heap.Push(&l.later, appointment{at: k.scheduled, k: k})
		if l.later[0].k == k {
			l.wake()
		}
	}
}

// queue lets the lane's first batch go as soon as the store can take it.
func (l *lanes) queue(k *lane) {
	k.queued, k.scheduled = true, time.Time{}
	if l.closed {
		return
	}
	if k.waiting[0].delta == nil {
		l.due = append([]*lane{k}, l.due...) // a removal is never delayed
	} else {
		l.due = append(l.due, k)
	}
	if l.most == 0 || l.workers < l.most {
		l.workers++
		l.crew.Go(l.work)
	}
}

// wake sets the alarm for the next appointment.
func (l *lanes) wake() {
	if len(l.later) == 0 || l.closed {
		return
	}
	in := time.Until(l.later[0].at)
	if l.alarm == nil {
		l.alarm = time.AfterFunc(in, l.ring)
	} else {
		l.alarm.Reset(in)
	}
}

// mostEarly bounds how much before its time a commit goes with one that is due. Those of a
// busy node are due one after the other, and would make a round trip each.
const mostEarly = 25 * time.Millisecond

// ring queues what has become due, and what is about to be.
func (l *lanes) ring() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for soon := time.Now().Add(l.early); len(l.later) > 0 && !soon.Before(l.later[0].at); {
		l.keep(heap.Pop(&l.later).(appointment))
	}
	l.wake()
}

// rush queues what would have become due later.
func (l *lanes) rush() {
	for len(l.later) > 0 {
		l.keep(heap.Pop(&l.later).(appointment))
	}
}

// keep an appointment, unless it was moved.
func (l *lanes) keep(a appointment) {
	if !a.k.scheduled.IsZero() && a.k.scheduled.Equal(a.at) {
		l.queue(a.k)
	}
}

// hasten makes all that waits in the lane due.
func (l *lanes) hasten(k *lane) {
	for _, b := range k.waiting {
		if b.hold != nil {
			b.hold.at = time.Time{}
		}
	}
	l.arrange(k)
}

package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Brief sessions live for a second. In each span of time, the same for all nodes, they are
// used, then left alone for longer than they live, and then asked for.
const (
	brief     = time.Second
	outliving = brief / 10 // what a slide may add to that

	briefSpan  = 4 * time.Second
	briefUsed  = time.Second             // from the span's beginning
	briefAsked = 2700 * time.Millisecond // from then until its end

	briefs    = 2 // of each node
	briefMark = "brief"
)

func isBrief(id string) bool { return strings.Contains(id, briefMark) }

// briefSession is a request to a session that may have expired. Its node's first worker
// begins it, once.
func (n *node) briefSession(c *client, round, nodes int, random *rand.Rand) {
	moment, owner := now(), random.IntN(nodes)
	id := fmt.Sprintf("r%d-%s%d-%d-g%d", round, briefMark, owner, random.IntN(briefs), moment/int64(briefSpan))
	switch at := moment % int64(briefSpan); {
	case at >= int64(briefAsked):
		c.read(id)
	case at >= int64(briefUsed):
	case owner == n.Node && c.writer%writers == 0 && c.versions[id] == 0:
		c.login(id)
	case random.IntN(3) == 0:
		c.change(id)
	default:
		c.read(id)
	}
}

// kept is the moment until which a session lives at least, as far as a read could know. That
// is never where it isn't brief.
func (h *history) kept(r *Record) (until int64) {
	if !isBrief(r.ID) {
		return never
	}
	for _, w := range h.written {
		if w.Outcome == OK && w.Acked < r.Start {
			until = max(until, w.Start+int64(brief))
		}
	}
	return until
}

// over is the moment at which a session is gone at the latest. That is never where it isn't
// brief, and where something is under way that may keep it.
func (h *history) over(r *Record) (at int64) {
	if !isBrief(r.ID) {
		return never
	}
	used := func(start, end int64) {
		switch {
		case start >= r.End:
		case end >= r.Start: // never is
			at = never
		case at != never:
			at = max(at, end+int64(brief+outliving))
		}
	}
	for _, w := range h.written {
		if w.Outcome != Revoked {
			used(w.Start, ended(w))
		}
	}
	for _, other := range h.reads {
		if other != r && !other.Absent && other.Slid > 0 {
			used(other.Start, other.Slid)
		}
	}
	return at
}

package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gogf/gf/v2/os/glog"
)

// logInterval is how often one cause is logged at most.
const logInterval = 10 * time.Second

// maxLines bounds the lines that wait while the log hangs.
const maxLines = 64

// rareLog logs a line for each cause, once in logInterval at most. The causes are constants and Go
// types, of which a program has few.
//
// Lines are written by a goroutine that lives while there are any, so that neither a request nor a
// watcher waits for a log that hangs, and a panic of the program's handler costs the line alone.
//
// logger is set at construction; mu guards the rest.
type rareLog struct {
	logger *slog.Logger // nil: GoFrame's default log

	mu      sync.Mutex
	said    map[string]*said
	lines   []warning // to be written
	lost    int       // lines without room, or whose handler has panicked, since the last one
	writing bool      // the goroutine lives
}

// said remembers when a cause was logged last, and what was held back since.
type said struct {
	at   time.Time
	held int
}

// warning is a line to be logged for a cause.
type warning struct {
	ctx        context.Context
	level      slog.Level
	cause      string
	message    string
	attributes []slog.Attr
}

// log has the line written soon. Beyond maxLines it is only counted.
func (l *rareLog) log(w warning) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held, say := l.due(w.cause, time.Now())
	switch {
	case !say:
		return
	case len(l.lines) == maxLines:
		l.lost += held + 1
		return
	case held > 0:
		w.attributes = append(slices.Clip(w.attributes), slog.Int("held_back", held))
	}
	l.lines = append(l.lines, w)
	if !l.writing {
		l.writing = true
		go l.write()
	}
}

// write writes what waits.
func (l *rareLog) write() {
	over := false
	defer func() {
		if over {
			return
		}
		_ = recover()
		l.mu.Lock()
		l.lost++
		l.mu.Unlock()
		go l.write() // the handler has ended this goroutine
	}()
	for w, ok := l.next(); ok; w, ok = l.next() {
		l.print(w)
	}
	over = true
}

// next returns the line to be written next, false if there is none.
func (l *rareLog) next() (w warning, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 0 {
		l.lines, l.writing = nil, false
		return w, false
	}
	w, l.lines = l.lines[0], l.lines[1:]
	if l.lost > 0 {
		w.attributes = append(slices.Clip(w.attributes), slog.Int("dropped", l.lost))
		l.lost = 0
	}
	return w, true
}

func (l *rareLog) print(w warning) {
	if l.logger != nil {
		l.logger.LogAttrs(w.ctx, w.level, w.message, w.attributes...)
		return
	}
	var line strings.Builder
	line.WriteString(w.message)
	for _, a := range w.attributes {
		fmt.Fprintf(&line, " %s=%v", a.Key, a.Value)
	}
	if w.level >= slog.LevelWarn {
		glog.Instance().Warning(w.ctx, line.String())
	} else {
		glog.Instance().Info(w.ctx, line.String())
	}
}

// flushPause is how often flush looks. A log is shared by chains, also of which one is in a bubble of synctest, so
// that it has no channel.
const flushPause = time.Millisecond

// flush returns when all lines are written, or ctx ends.
func (l *rareLog) flush(ctx context.Context) {
	tick := time.NewTicker(flushPause)
	defer tick.Stop()
	for l.busy() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (l *rareLog) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writing
}

// due is called under mu.
func (l *rareLog) due(cause string, now time.Time) (held int, say bool) {
	if cause == "" {
		return 0, true
	}
	w := l.said[cause]
	if w == nil {
		if l.said == nil {
			l.said = map[string]*said{}
		}
		w = &said{}
		l.said[cause] = w
	}
	if !w.at.IsZero() && now.Sub(w.at) < logInterval {
		w.held++
		return 0, false
	}
	held, w.held, w.at = w.held, 0, now
	return held, true
}

const (
	// maxEarly bounds the warnings that wait; the first ones say why the others came.
	maxEarly = 64

	// earlyDelay is how long they wait for a chain to say where to log. Nothing is
	// done meanwhile but to build it.
	earlyDelay = time.Second
)

// early keeps the warnings of a layer that is being built: where they go is known only when
// the chain is complete. A layer that isn't in a chain logs them after earlyDelay.
//
// mu guards all fields. Once said is set, nothing is kept any more.
type early struct {
	mu    sync.Mutex
	kept  []warning
	alarm *time.Timer
	said  bool
}

// keep keeps a warning; alarm is called if no sink is set in time. It returns false if warnings
// aren't kept any more.
func (e *early) keep(w warning, alarm func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.said {
		return false
	}
	if len(e.kept) < maxEarly {
		e.kept = append(e.kept, w)
	}
	if e.alarm == nil {
		e.alarm = time.AfterFunc(earlyDelay, alarm)
	}
	return true
}

// say has what waits logged.
func (e *early) say(log *rareLog) {
	e.mu.Lock()
	kept := e.kept
	e.said, e.kept = true, nil
	if e.alarm != nil {
		e.alarm.Stop()
	}
	e.mu.Unlock()
	for _, w := range kept {
		log.log(w)
	}
}

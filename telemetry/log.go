package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/gogf/gf/v2/os/glog"
)

// logInterval is how often one cause is logged at most.
const logInterval = 10 * time.Second

// rareLog logs a line for each cause, once in logInterval at most. The causes are constants and Go
// types, of which a program has few.
//
// logger is set at construction; mu guards said.
type rareLog struct {
	logger *slog.Logger // nil: GoFrame's default log

	mu   sync.Mutex
	said map[string]*said
}

// said remembers when a cause was logged last, and what was held back since.
type said struct {
	at   time.Time
	held int
}

// warning is a line to be logged for a cause.
type warning struct {
	ctx        context.Context
	cause      string
	message    string
	attributes []slog.Attr
}

func (l *rareLog) warn(ctx context.Context, cause, message string, attributes ...slog.Attr) {
	held, say := l.due(cause, time.Now())
	if !say {
		return
	}
	if held > 0 {
		attributes = append(attributes, slog.Int("held_back", held))
	}
	if l.logger != nil {
		l.logger.LogAttrs(ctx, slog.LevelWarn, message, attributes...)
		return
	}
	var line strings.Builder
	line.WriteString(message)
	for _, a := range attributes {
		fmt.Fprintf(&line, " %s=%v", a.Key, a.Value)
	}
	glog.Instance().Warning(ctx, line.String())
}

func (l *rareLog) due(cause string, now time.Time) (held int, say bool) {
	if cause == "" {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
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

// say logs what waits.
func (e *early) say(log *rareLog) {
	e.mu.Lock()
	kept := e.kept
	e.said, e.kept = true, nil
	if e.alarm != nil {
		e.alarm.Stop()
	}
	e.mu.Unlock()
	for _, w := range kept {
		log.warn(w.ctx, w.cause, w.message, w.attributes...)
	}
}

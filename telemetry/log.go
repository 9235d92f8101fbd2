package telemetry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gogf/gf/v2/os/glog"
)

// logInterval is how often one cause is logged at most.
const logInterval = 10 * time.Second

// warnings remember when each cause was logged last, and what was held back since. The
// causes are constants and Go types, of which a program has few. mu guards all fields.
var warnings struct {
	mu   sync.Mutex
	said map[string]*warning
}

type warning struct {
	at   time.Time
	held int
}

// Warn writes a line to GoFrame's default log, one each ten seconds for one cause. The
// arguments hold no session id, key or value (law 10).
func Warn(ctx context.Context, cause, format string, args ...any) {
	held, say := due(cause, time.Now())
	if !say {
		return
	}
	text := fmt.Sprintf(format, args...)
	if held > 0 {
		text += fmt.Sprintf(" (and %d more of these since)", held)
	}
	glog.Instance().Warning(ctx, text)
}

func due(cause string, now time.Time) (held int, say bool) {
	warnings.mu.Lock()
	defer warnings.mu.Unlock()
	w := warnings.said[cause]
	if w == nil {
		if warnings.said == nil {
			warnings.said = map[string]*warning{}
		}
		w = &warning{}
		warnings.said[cause] = w
	}
	if !w.at.IsZero() && now.Sub(w.at) < logInterval {
		w.held++
		return 0, false
	}
	held, w.held, w.at = w.held, 0, now
	return held, true
}

package sessionmap

import (
	"context"
	"reflect"
	"runtime"
	"strings"

	"github.com/gogf/gf/v2/os/gsession"
)

// Functions by which it is known where a call comes from: their names in a stack trace up to the
// last dot.
var (
	sessionMethods = methodsOf((*gsession.Session).Close)
	adapterMethods = methodsOf((*adapter).write)
)

func methodsOf(method any) string {
	name := runtime.FuncForPC(reflect.ValueOf(method).Pointer()).Name()
	return name[:strings.LastIndexByte(name, '.')+1]
}

// bySession reports whether a gsession.Session brings the map that a Maps doesn't know, and
// no adapter of ours: then the Session has made it, for a session that it had begun. A
// program's own map looks the same, as do the calls that lead to it; only the caller distinguishes
// them. It is looked for once a session, beside a write.
func bySession() bool {
	var counters [64]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(2, counters[:])])
	for {
		frame, more := frames.Next()
		switch {
		case strings.HasPrefix(frame.Function, sessionMethods):
			return true
		case strings.HasPrefix(frame.Function, adapterMethods) || !more:
			return false
		}
	}
}

// adapted is what an adapter passes to the Maps below it in the context, past decorators
// between them: that a call comes from no request, so that the Maps needn't infer from an
// earlier absence what a map stands for. It isn't bound to an id, which a decorator may
// change. If one drops the context's values, the Maps has to infer.
type adapted uint8

const (
	adaptedNot     adapted = iota // the call is a request's
	adaptedCreate                 // a write of what found no session
	adaptedReplace                // a write of a whole session
)

// adaptation is a call with the urgency of the delta that it is made of. An urgent delta that
// changes nothing is an inquiry.
type adaptation struct {
	call   adapted
	urgent bool
}

type adaptedKey struct{}

// adaptedCall returns what an adapter above has noted.
func adaptedCall(ctx context.Context) (call adapted, urgent bool) {
	a, _ := ctx.Value(adaptedKey{}).(adaptation)
	return a.call, a.urgent
}

package sessionmap

import (
	"reflect"
	"runtime"
	"strings"

	"github.com/gogf/gf/v2/os/gsession"
)

// Functions that tell where a call comes from, by their names in a stack trace up to the last
// dot.
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
// program's own map looks the same, as do the calls that lead to it; only the caller tells
// them apart. It is asked for once a session, beside a write.
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

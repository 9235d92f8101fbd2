package web

import (
	"strconv"
	"strings"
	"time"
)

// recordKey is the one key of a session that this package reserves. Its value is a string of fields
// between semicolons: the version 1, then in milliseconds and in base 36 when the session began,
// when its principal was authenticated, when the cookie was sent, the session's own idle and
// absolute limits (0 for the middleware's), and last the principal, as it is.
const recordKey = "strata.web"

// record holds the package's own data of a session. Moments and spans are in milliseconds, so that
// they are the same before and after a store; 0 is unknown.
type record struct {
	began, proved, sent int64
	idle, absolute      int64
	principal           string
}

func (r record) String() string {
	b := make([]byte, 0, 64+len(r.principal))
	b = append(b, '1')
	for _, n := range [...]int64{r.began, r.proved, r.sent, r.idle, r.absolute} {
		b = strconv.AppendInt(append(b, ';'), n, 36)
	}
	return string(append(append(b, ';'), r.principal...))
}

// recordOf reads a record; one that isn't readable is none.
func recordOf(value any) (r record) {
	text, _ := value.(string)
	text, ok := strings.CutPrefix(text, "1;")
	if !ok {
		return record{}
	}
	for _, n := range [...]*int64{&r.began, &r.proved, &r.sent, &r.idle, &r.absolute} {
		var field string
		if field, text, ok = strings.Cut(text, ";"); !ok {
			return record{}
		}
		v, err := strconv.ParseInt(field, 36, 64)
		if err != nil || v < 0 {
			return record{}
		}
		*n = v
	}
	r.principal = strings.Clone(text)
	return r
}

// longest bounds all limits, so that sums and other units of them don't overflow.
const longest = 100 * 365 * 24 * time.Hour

// limits are the session's own, or the middleware's; 0 for none.
func (r record) limits(idle, absolute time.Duration) (time.Duration, time.Duration) {
	if r.idle > 0 {
		idle = time.Duration(r.idle) * time.Millisecond
	}
	if r.absolute > 0 {
		absolute = time.Duration(r.absolute) * time.Millisecond
	}
	return idle, absolute
}

// left is how long the session may live on from now at most: the idle limit, or
// the rest of its absolute limit. It is less than 0 once that is over.
func (r record) left(now time.Time, idle, absolute time.Duration) time.Duration {
	idle, absolute = r.limits(idle, absolute)
	if absolute > 0 && r.began > 0 {
		rest := time.UnixMilli(r.began).Add(absolute).Sub(now)
		if rest <= 0 {
			return -1
		}
		if idle <= 0 || rest < idle {
			return rest
		}
	}
	return idle
}

// wanted reports whether a session without data is to be kept for what the record says.
func (r record) wanted() bool { return r.principal != "" || r.idle > 0 || r.absolute > 0 }

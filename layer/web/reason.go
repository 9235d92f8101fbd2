package web

import (
	"hash/maphash"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"

	"github.com/gf-strata/strata/layer"
)

// Reason returns why the session has ended under whose id the request comes, so that a page can
// say which: "" while there is a session, where the request brings no id that a session may have,
// and where the reason isn't known (any more). It may cost a read of the store, where the chain has
// layer.Indexed.
//
// That a session has reached one of its limits is known on nodes that served it, for some time; the absolute
// one on all of them where ids are Signed. All other reasons need layer.Indexed, and are known for as long as
// layer.KeepReasons says. If a session that has ended otherwise would have reached its limit since, a node
// that notices the end only then reports the limit. A request that was running when its session ended has the
// reason in the error that OnError gets: layer.ReasonOf.
func Reason(r *ghttp.Request) layer.Reason {
	q := requestOf(r)
	if q == nil || q.load() != nil {
		return ""
	}
	for _, id := range q.presented.gone {
		if reason := q.of.reasonOf(q.ctx, id); reason != "" {
			return reason
		}
	}
	return ""
}

// Handle returns the handle of the request's session in layer.Users.List, so that a page can mark
// the visitor's own. It is "" where there is no session, where it has no principal, and without
// layer.Indexed.
func Handle(r *ghttp.Request) (string, error) {
	q := requestOf(r)
	if q == nil {
		return "", errOutside
	}
	if err := q.load(); err != nil || q.storage.stored == "" || q.of.users == nil {
		return "", err
	}
	return q.of.users.Handle(q.ctx, q.storage.stored)
}

// expiries remember when sessions that this node has served end if they aren't used. Each
// slot is an atomic: from the top, 31 bits of the hash of an id, whether the absolute limit ends
// it, and the moment in seconds of Unix time. An id takes the slot of another one with the same
// lower bits of its hash, so that memory is bounded.
type expiries struct {
	seed  maphash.Seed
	slots [1 << 14]atomic.Uint64
}

const (
	expiryTag      = 1<<64 - 1<<33
	expiryAbsolute = 1 << 32
)

func newExpiries() *expiries { return &expiries{seed: maphash.MakeSeed()} }

func (e *expiries) of(id string) (slot *atomic.Uint64, tag uint64) {
	hash := maphash.String(e.seed, id)
	return &e.slots[hash%uint64(len(e.slots))], hash & expiryTag
}

func (e *expiries) note(id string, at time.Time, absolute bool) {
	slot, tag := e.of(id)
	is := tag | uint64(min(at.Unix(), math.MaxUint32))
	if absolute {
		is |= expiryAbsolute
	}
	slot.Store(is)
}

func (e *expiries) forget(id string) {
	slot, tag := e.of(id)
	if is := slot.Load(); is&expiryTag == tag {
		slot.CompareAndSwap(is, 0)
	}
}

// reason is why the session, which isn't there, has ended by itself, "" if it isn't known to have.
func (e *expiries) reason(id string, now time.Time) layer.Reason {
	slot, tag := e.of(id)
	switch is := slot.Load(); {
	case is == 0 || is&expiryTag != tag:
		return ""
	case now.Unix() < int64(uint32(is)):
		slot.CompareAndSwap(is, 0) // something else has ended it
		return ""
	case is&expiryAbsolute != 0:
		return layer.ReasonExpired
	default:
		return layer.ReasonIdle
	}
}

// Describe says what is kept of a log-in's request, for layer.Users.List: 1,024 bytes of JSON at
// most. It is asked when a request writes its session, and what it returns is kept with a session
// that begins. The default is [Described].
func Describe(describe func(r *ghttp.Request) map[string]string) Option {
	return func(s *sessions) { s.describe = describe }
}

// Described is the default of Describe: the client's address, of which the first 24 bits are
// kept, or 48 of an IPv6 one, and the class of its device: desktop, mobile, tablet, bot or other.
// The raw header isn't kept. The address is ghttp's GetClientIp, which a client can choose unless
// a proxy overwrites X-Forwarded-For.
func Described(r *ghttp.Request) map[string]string {
	described := map[string]string{layer.DescribedDevice: deviceClass(r.Header)}
	if address, err := netip.ParseAddr(r.GetClientIp()); err == nil {
		address = address.Unmap().WithZone("")
		bits := 48
		if address.Is4() {
			bits = 24
		}
		if prefix, err := address.Prefix(bits); err == nil {
			described[layer.DescribedIP] = prefix.String()
		}
	}
	return described
}

func deviceClass(header http.Header) string {
	agent := strings.ToLower(header.Get("User-Agent"))
	has := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(agent, word) {
				return true
			}
		}
		return false
	}
	switch {
	case has("bot", "spider", "crawler"):
		return "bot"
	case has("ipad", "tablet", "kindle") || has("android") && !has("mobile"):
		return "tablet"
	case has("mobile", "iphone", "micromessenger", "harmonyos") || header.Get("Sec-CH-UA-Mobile") == "?1":
		return "mobile"
	case has("windows", "macintosh", "x11", "linux", "cros"):
		return "desktop"
	}
	return "other"
}

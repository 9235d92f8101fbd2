package web

import (
	"cmp"
	"net/textproto"
	"strings"

	"github.com/gogf/gf/v2/net/ghttp"
)

// presented is what a request has sent to name its session: one id counts at a time. It belongs to the
// request's goroutine.
type presented struct {
	of       *sessions
	id       string   // "" if no session can have what was sent
	first    string   // the first one that counted
	claimed  record   // what the id says of itself, where ids are signed
	byHeader bool     // the id came in the header
	others   []string // what other cookies of the name say
	gone     []string // what has counted, while there is no session under any of it
}

// mostOthers is how many cookies of the name are tried after the first one.
const mostOthers = 3

// read takes the id from the header or from a cookie. Of several cookies of the name, as of other paths and
// domains, the first counts whose session is there; a few are tried.
func (p *presented) read(r *ghttp.Request, cookie *cookie) {
	s := p.of
	if s.header != "" {
		id := r.Header.Get(s.header)
		if s.bearer {
			scheme, token, _ := strings.Cut(id, " ")
			if id = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") {
				id = ""
			}
		}
		if p.byHeader = id != ""; p.byHeader {
			if !s.warned.Load() && isExposed(r) && s.warned.CompareAndSwap(false, true) {
				s.log.Warn(r.Context(), "", "strata: web: session ids come in a header without TLS, so that the network reads them; serve TLS, or have the proxy that ends it set X-Forwarded-Proto")
			}
			p.accept(id)
			return
		}
	}
	if s.cookie == nil {
		return
	}
	_, name := cookie.over(r)
	for _, line := range r.Header["Cookie"] {
		for line != "" {
			var field string
			field, line, _ = strings.Cut(line, ";")
			key, value, _ := strings.Cut(textproto.TrimString(field), "=") // a name with other white space is another one
			switch value = unquoted(value); {
			case key != name || len(p.others) == mostOthers:
			case p.id == "":
				p.accept(value)
			default:
				p.others = append(p.others, value)
			}
		}
	}
}

// accept has the id count if a session may have it.
func (p *presented) accept(id string) (ok bool) {
	claimed, ok := p.of.read(id)
	if ok {
		p.id, p.claimed = strings.Clone(id), claimed
		p.first = cmp.Or(p.first, p.id)
	}
	return ok
}

// next notes that there is no session under the id that counts, and has the next cookie count.
func (p *presented) next() (ok bool) {
	p.gone = append(p.gone, p.id)
	for len(p.others) > 0 && !ok {
		other := p.others[0]
		p.others = p.others[1:]
		ok = p.accept(other)
	}
	return ok
}

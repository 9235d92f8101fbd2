package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"

	"github.com/gf-strata/strata/internal/scheme"
)

// CookieOptions are what differs from the defaults; the zero value changes nothing. The cookie is
// always HttpOnly.
type CookieOptions struct {
	// Name is the cookie's name as it is. The default is the server's SessionIdName, with a prefix where the
	// cookie is Secure: __Host- if it has the path / and no domain, else __Secure-. Give the plain name to
	// keep those logged in who have such a cookie already.
	Name string
	// Domain is given to have other hosts of it get the cookie as well.
	Domain string
	// Path is / by default.
	Path string
	// SameSite is http.SameSiteLaxMode by default.
	SameSite http.SameSite
	// MaxAge is how long the browser keeps the cookie after it was last sent. The default is as long
	// as the session lives without requests. Less than 0 is until the browser ends.
	MaxAge time.Duration
	// Secure is for servers behind a proxy that ends TLS and sets no X-Forwarded-Proto. SameSite None and a
	// Name with a prefix include it, as browsers drop such cookies otherwise.
	Secure bool
	// Insecure leaves Secure out, over TLS as well.
	Insecure bool
}

// Cookie carries the id in a cookie, as is the default, with these options. Together with Bearer
// or Header, the response to a request that has the header sets no cookie.
func Cookie(o CookieOptions) Option { return func(s *sessions) { s.cookie = &o } }

func (o CookieOptions) check() error {
	switch {
	case o.Secure && o.Insecure:
		return fmt.Errorf("web.Cookie can't be Secure and Insecure; choose one")
	case o.MaxAge > longest:
		return fmt.Errorf("web.Cookie needs a MaxAge of up to 100 years, not %v; leave it out for as long as the session lives", o.MaxAge)
	}
	is := cookie{name: o.Name, domain: o.Domain, path: cmp.Or(o.Path, "/"), sameSite: o.SameSite, insecure: o.Insecure}
	return is.check()
}

// The prefixes have browsers refuse cookies that were planted.
const (
	hostPrefix   = "__Host-"
	securePrefix = "__Secure-"
)

// cookie is how one server's cookie looks. It is immutable.
type cookie struct {
	name             string // without TLS
	secureName       string
	domain, path     string
	sameSite         http.SameSite
	life             time.Duration
	fixed, transient bool // life is meant; it ends with the browser
	secure, insecure bool // always; never
}

// check returns an error if browsers would drop the cookie.
func (c *cookie) check() error {
	switch {
	case c.sameSite == http.SameSiteNoneMode && c.insecure:
		return fmt.Errorf("web.Cookie with SameSite None has to be Secure, or browsers drop it")
	case hasPrefix(c.name, hostPrefix) && (c.insecure || c.domain != "" || c.path != "/"):
		return fmt.Errorf("web.Cookie: a name with %s needs a Secure cookie with the path / and no domain", hostPrefix)
	case hasPrefix(c.name, securePrefix) && c.insecure:
		return fmt.Errorf("web.Cookie: a name with %s needs a Secure cookie", securePrefix)
	}
	return nil
}

// isPrefixed reports whether a cookie's name has a prefix already.
func isPrefixed(name string) bool {
	return hasPrefix(name, hostPrefix) || hasPrefix(name, securePrefix)
}

// hasPrefix ignores case, as browsers do.
func hasPrefix(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

func (c *cookie) over(r *ghttp.Request) (secure bool, name string) {
	if !c.insecure && (c.secure || scheme.IsTLS(r.Request)) {
		return true, c.secureName
	}
	return false, c.name
}

// isExposed reports whether a request has come over a network without TLS.
func isExposed(r *ghttp.Request) bool {
	if scheme.IsTLS(r.Request) {
		return false
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && !from.Addr().Unmap().IsLoopback()
}

// lasts is how long the cookie of a session lives that has so long left; 0 for until the browser ends.
func (c *cookie) lasts(left time.Duration) time.Duration {
	switch {
	case c.transient:
		return 0
	case c.fixed:
		return c.life
	}
	return left
}

// set puts the cookie into the response, in place of one that was put there before.
func (c *cookie) set(r *ghttp.Request, id string, life time.Duration) {
	secure, name := c.over(r)
	out := &http.Cookie{
		Name: name, Value: id, Domain: c.domain, Path: c.path,
		HttpOnly: true, SameSite: c.sameSite, Secure: secure,
	}
	switch {
	case id == "":
		out.MaxAge = -1
	case life > 0:
		out.MaxAge = int((life + time.Second - 1) / time.Second)
	}
	header := r.Response.Header()
	dropCookie(header, name)
	http.SetCookie(r.Response.Writer, out)
	vary(header, "Cookie")
	private(header, true)
}

// dropCookie takes a cookie out of a response.
func dropCookie(header http.Header, name string) {
	had := header["Set-Cookie"]
	kept := had[:0:0]
	for _, line := range had {
		if !strings.HasPrefix(line, name+"=") {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		header.Del("Set-Cookie")
	} else if len(kept) < len(had) {
		header["Set-Cookie"] = kept
	}
}

// vary has caches keep responses to different values of a request header apart.
func vary(header http.Header, name string) {
	for _, line := range header["Vary"] {
		for field := range strings.SplitSeq(line, ",") {
			if field = strings.TrimSpace(field); field == "*" || strings.EqualFold(field, name) {
				return
			}
		}
	}
	header["Vary"] = append(header["Vary"], name)
}

// private keeps a response out of shared caches. The handler's Cache-Control stays. If it would let one keep a response
// that must not be kept, what it says to all caches stays.
func private(header http.Header, must bool) {
	if header.Get("Cache-Control") != "" && !must {
		return
	}
	is := "private"
	for field := range strings.SplitSeq(strings.Join(header["Cache-Control"], ","), ",") {
		field = strings.ToLower(strings.TrimSpace(field))
		switch name, _, _ := strings.Cut(field, "="); {
		case field == "private" || field == "no-store":
			return
		case name != "" && name != "private" && name != "public" && name != "s-maxage" && !strings.Contains(field, `"`):
			is += ", " + field
		}
	}
	header["Cache-Control"] = []string{is}
}

// unquoted is a cookie's value without the quotes that some clients put around it.
func unquoted(value string) string {
	if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
		return value[1 : n-1]
	}
	return value
}

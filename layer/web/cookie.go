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

// The prefixes have browsers refuse cookies that were planted.
const (
	hostPrefix   = "__Host-"
	securePrefix = "__Secure-"
)

// check returns an error if the options contradict each other, or if browsers would drop the cookie.
func (o CookieOptions) check() error {
	switch {
	case o.Secure && o.Insecure:
		return fmt.Errorf("web.Cookie can't be Secure and Insecure; choose one")
	case o.MaxAge > longest:
		return fmt.Errorf("web.Cookie needs a MaxAge of up to 100 years, not %v; leave it out for as long as the session lives", o.MaxAge)
	case o.SameSite == http.SameSiteNoneMode && o.Insecure:
		return fmt.Errorf("web.Cookie with SameSite None has to be Secure, or browsers drop it")
	case hasPrefix(o.Name, hostPrefix) && (o.Insecure || o.Domain != "" || cmp.Or(o.Path, "/") != "/"):
		return fmt.Errorf("web.Cookie: a name with %s needs a Secure cookie with the path / and no domain", hostPrefix)
	case hasPrefix(o.Name, securePrefix) && o.Insecure:
		return fmt.Errorf("web.Cookie: a name with %s needs a Secure cookie", securePrefix)
	}
	return nil
}

// cookie is how one server's cookie looks: the options with all defaults. It is immutable.
type cookie struct {
	CookieOptions
	secureName string // over TLS
}

// hasPrefix ignores case, as browsers do.
func hasPrefix(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

func (c *cookie) over(r *ghttp.Request) (secure bool, name string) {
	if !c.Insecure && (c.Secure || scheme.IsTLS(r.Request)) {
		return true, c.secureName
	}
	return false, c.Name
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
	if c.MaxAge != 0 {
		return max(c.MaxAge, 0)
	}
	return left
}

// set puts the cookie into the response, in place of one that was put there before, and returns its line.
func (c *cookie) set(r *ghttp.Request, id string, life time.Duration) string {
	secure, name := c.over(r)
	out := &http.Cookie{
		Name: name, Value: id, Domain: c.Domain, Path: c.Path,
		HttpOnly: true, SameSite: c.SameSite, Secure: secure,
	}
	switch {
	case id == "":
		out.MaxAge = -1
	case life > 0:
		out.MaxAge = int((life + time.Second - 1) / time.Second)
	}
	dropCookie(r.Response.Header(), name, "")
	http.SetCookie(r.Response.Writer, out)
	return out.String()
}

// dropCookie takes a cookie out of a response, except for one line.
func dropCookie(header http.Header, name, except string) {
	had := header["Set-Cookie"]
	kept := had[:0:0]
	for _, line := range had {
		if line == except || !strings.HasPrefix(line, name+"=") {
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

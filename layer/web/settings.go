package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
)

var errLate = errors.New("strata: web: the session was changed before the middleware web.Sessions; put web.Sessions first")

// settings are those of a server that concern its sessions. They are immutable.
type settings struct {
	err    error
	idle   time.Duration
	cookie cookie
}

func newSettings(s *sessions, server *ghttp.Server) *settings {
	is := &settings{idle: s.idle}
	if is.idle == 0 {
		is.idle = min(server.GetSessionMaxAge(), longest)
	}
	if s.cookie != nil {
		is.cookie, is.err = s.cookie.on(server, is.idle)
	}
	return is
}

// goframeCookieAge is what GoFrame sets unless SetSessionCookieMaxAge is called.
const goframeCookieAge = 24 * time.Hour

// on returns the cookie that the options make on a server.
func (o CookieOptions) on(server *ghttp.Server, idle time.Duration) (cookie, error) {
	named := o.Name != ""
	o.Name = cmp.Or(o.Name, server.GetSessionIdName())
	o.Domain = cmp.Or(o.Domain, server.GetCookieDomain())
	o.Path = cmp.Or(o.Path, server.GetCookiePath(), "/")
	for _, mode := range []http.SameSite{server.GetCookieSameSite(), http.SameSiteLaxMode} {
		if o.SameSite == 0 || o.SameSite == http.SameSiteDefaultMode {
			o.SameSite = mode
		}
	}
	o.Secure = o.Secure || server.GetCookieSecure() && !o.Insecure
	c := cookie{o, o.Name}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("strata: web: %w, with the settings of the server", err)
	}
	prefixed := hasPrefix(c.Name, hostPrefix) || hasPrefix(c.Name, securePrefix)
	c.Secure = c.Secure || c.SameSite == http.SameSiteNoneMode || prefixed
	switch {
	case named || prefixed:
	case c.Domain == "" && c.Path == "/":
		c.secureName = hostPrefix + c.Name
	default:
		c.secureName = securePrefix + c.Name
	}
	if (&http.Cookie{Name: c.Name, Value: "x", Path: c.Path, Domain: c.Domain}).Valid() != nil {
		return c, fmt.Errorf("strata: web: no cookie can have the name %q, the path %q and the domain %q; "+
			"change SetSessionIdName or web.Cookie", c.Name, c.Path, c.Domain)
	}
	if o.MaxAge == 0 {
		switch age := server.GetSessionCookieMaxAge(); {
		case age == 0:
			c.MaxAge = -1
		case age != goframeCookieAge && age != idle:
			return c, fmt.Errorf("strata: web: SetSessionCookieMaxAge(%v) differs from how long a session lives without requests, %v; "+
				"leave it out, as the cookie lives as long as the session, or set MaxAge of web.Cookie", age, idle)
		}
	}
	if !cookieOutput(server) {
		return c, errors.New("strata: web: SetSessionCookieOutput(false) leaves no way for the id; use web.Bearer or web.Header")
	}
	return c, nil
}

// cookieOutput reads a setting for which GoFrame has no getter.
func cookieOutput(server *ghttp.Server) bool {
	config := reflect.ValueOf(server).Elem().FieldByName("config")
	if config.Kind() != reflect.Struct {
		return true
	}
	field := config.FieldByName("SessionCookieOutput")
	return field.Kind() != reflect.Bool || field.Bool()
}

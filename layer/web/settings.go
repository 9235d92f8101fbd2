package web

import (
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
	c := cookie{
		name: o.Name, domain: o.Domain, path: o.Path, sameSite: o.SameSite,
		life: o.MaxAge, fixed: o.MaxAge > 0, transient: o.MaxAge < 0,
		secure: o.Secure || server.GetCookieSecure() && !o.Insecure, insecure: o.Insecure,
	}
	if c.name == "" {
		c.name = server.GetSessionIdName()
	}
	if c.domain == "" {
		c.domain = server.GetCookieDomain()
	}
	if c.path == "" {
		c.path = server.GetCookiePath()
	}
	if c.path == "" {
		c.path = "/"
	}
	if c.sameSite == 0 || c.sameSite == http.SameSiteDefaultMode {
		c.sameSite = server.GetCookieSameSite()
	}
	if c.sameSite == http.SameSiteDefaultMode {
		c.sameSite = http.SameSiteLaxMode
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("strata: web: %w, with the settings of the server", err)
	}
	c.secure = c.secure || c.sameSite == http.SameSiteNoneMode || isPrefixed(c.name)
	switch {
	case o.Name != "" || isPrefixed(c.name):
		c.secureName = c.name
	case c.domain == "" && c.path == "/":
		c.secureName = hostPrefix + c.name
	default:
		c.secureName = securePrefix + c.name
	}
	if (&http.Cookie{Name: c.name, Value: "x", Path: c.path, Domain: c.domain}).Valid() != nil {
		return c, fmt.Errorf("strata: web: no cookie can have the name %q, the path %q and the domain %q; "+
			"change SetSessionIdName or web.Cookie", c.name, c.path, c.domain)
	}
	if o.MaxAge == 0 {
		switch age := server.GetSessionCookieMaxAge(); {
		case age == 0:
			c.transient = true
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

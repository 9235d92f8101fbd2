package config

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/gogf/gf/v2/frame/g"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gcfg"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
)

// Web is web.Sessions(chain) with the options of the group's section web, and with others, which
// come after them.
func Web(ctx context.Context, name string, chain *layer.Stack, others ...web.Option) (ghttp.HandlerFunc, error) {
	return WebOf(ctx, g.Cfg(), name, chain, others...)
}

// WebOf is Web with another configuration.
func WebOf(ctx context.Context, from *gcfg.Config, name string, chain *layer.Stack, others ...web.Option) (sessions ghttp.HandlerFunc, err error) {
	of, place, _, err := groupOf(ctx, from, name)
	if err != nil {
		return nil, err
	}
	if of.store == "redisHashTable" && !of.snapshots {
		return nil, fmt.Errorf("strata: %s.store is redisHashTable, and web needs whole sessions; write snapshots: true", place)
	}
	err = apply(place+".web", func() { sessions = web.Sessions(chain, append(of.web.options(), others...)...) })
	return sessions, err
}

// webConfig holds a group's settings of web.Sessions.
type webConfig struct {
	opts   []web.Option
	cookie *web.CookieOptions // nil for the default
	bearer bool
	header string
}

func (c *webConfig) add(opt web.Option) { c.opts = append(c.opts, opt) }

func (c *webConfig) options() []web.Option {
	opts := slices.Clone(c.opts)
	if c.cookie != nil {
		opts = append(opts, web.Cookie(*c.cookie))
	}
	return opts
}

// section reads the options. A group without it has the defaults.
func (c *webConfig) section() take {
	known := keys{
		"idle":           duration(func(d time.Duration) { c.add(web.Idle(d)) }),
		"absolute":       duration(func(d time.Duration) { c.add(web.Absolute(d)) }),
		"cookie":         c.cookieSection(),
		"bearer":         yes(func() { c.bearer = true; c.add(web.Bearer()) }),
		"header":         word(func(name string) { c.header = name; c.add(web.Header(name)) }),
		"signed":         signed(func(keys [][]byte) { c.add(web.Signed(keys...)) }),
		"trustedOrigins": words(func(origins []string) { c.add(web.TrustedOrigins(origins...)) }),
		"commitOnPanic":  yes(func() { c.add(web.CommitOnPanic()) }),
		"adoptUnknown":   yes(func() { c.add(web.AdoptUnknown()) }),
	}
	return func(place string, value any) error {
		if value == nil {
			return nil
		}
		if err := read(place, value, known); err != nil {
			return err
		}
		if c.bearer && c.header != "" {
			return fmt.Errorf("strata: %s has bearer and header; the id comes in one header, so leave one of them out", place)
		}
		return nil
	}
}

func (c *webConfig) cookieSection() take {
	return func(place string, value any) error {
		c.cookie = &web.CookieOptions{}
		o := c.cookie
		return read(place, value, keys{
			"name":     text(&o.Name),
			"domain":   text(&o.Domain),
			"path":     text(&o.Path),
			"sameSite": oneOf(&o.SameSite, map[string]http.SameSite{"lax": http.SameSiteLaxMode, "strict": http.SameSiteStrictMode, "none": http.SameSiteNoneMode}, "lax, strict or none"),
			"maxAge":   duration(func(d time.Duration) { o.MaxAge = d }),
			"secure":   flag(func(on bool) { o.Secure = on }),
			"insecure": flag(func(on bool) { o.Insecure = on }),
		})
	}
}

// signed takes the names of environment variables, so that no key stands in the configuration.
func signed(set func(keys [][]byte)) take {
	return func(place string, value any) error {
		var found [][]byte
		err := words(func(variables []string) {
			for _, name := range variables {
				key, err := base64.StdEncoding.DecodeString(os.Getenv(name))
				if err != nil || len(key) < 32 {
					// The name may be a key that was written here by mistake.
					panic("needs the names of environment variables that hold base64 of 32 bytes or more; write signed: [SESSION_KEY], and set SESSION_KEY to what `openssl rand -base64 32` prints")
				}
				found = append(found, key)
			}
		})(place, value)
		if err == nil {
			set(found)
		}
		return err
	}
}

package config_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/gogf/gf/v2/frame/g"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gcfg"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/config"
	"github.com/gf-strata/strata/layer/web"
)

func chainOf(t *testing.T, c *gcfg.Config) *layer.Stack {
	t.Helper()
	chain, err := config.ChainOf(ctx, c, "default")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = chain.Close(ctx) })
	return chain
}

// answer is what one log-in gets from a server whose sessions are set up by the configuration.
func answer(t *testing.T, section string, others ...web.Option) *http.Response {
	t.Helper()
	c := parse(t, "strata: {default: {store: memory, web: "+section+"}}")
	sessions, err := config.WebOf(ctx, c, "default", chainOf(t, c), others...)
	if err != nil {
		t.Fatal(err)
	}
	s := g.Server(gsession.NewSessionId()) // GoFrame keeps a server for good under its name
	s.SetDumpRouterMap(false)
	s.Use(sessions)
	s.BindHandler("/", func(r *ghttp.Request) {
		r.Session.MustSet("n", 1)
		if err := web.Login(r, "anna"); err != nil {
			t.Error(err)
		}
		r.Response.Write(web.Token(r))
	})
	s.SetHandler(s.ServeHTTP)
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "http://shop.test/", nil))
	return recorder.Result()
}

func TestWebOptions(t *testing.T) {
	t.Setenv("SESSION_KEY", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	cookie := answer(t, `{idle: 10m, absolute: 1h, cookie: {name: shop, path: /a, sameSite: strict, secure: true, maxAge: 5m}}`).Cookies()
	if len(cookie) != 1 {
		t.Fatalf("%d cookies", len(cookie))
	}
	if c := cookie[0]; c.Name != "shop" || c.Path != "/a" || c.SameSite != http.SameSiteStrictMode || !c.Secure || c.MaxAge != 300 {
		t.Errorf("the cookie is %q, %q, %v, %v, %d", c.Name, c.Path, c.SameSite, c.Secure, c.MaxAge)
	}
	if idle := answer(t, `{idle: 10m}`).Cookies(); len(idle) != 1 || idle[0].MaxAge < 590 || idle[0].MaxAge > 670 {
		t.Error("the cookie doesn't live for ten minutes")
	}
	bearer := answer(t, `{bearer: true}`)
	plain, err := io.ReadAll(bearer.Body)
	if err != nil || len(bearer.Cookies()) != 0 || len(plain) == 0 {
		t.Errorf("bearer: %d cookies, a token of %d bytes, %v", len(bearer.Cookies()), len(plain), err)
	}
	signed, err := io.ReadAll(answer(t, `{header: X-Session, signed: [SESSION_KEY]}`).Body)
	if err != nil || len(signed) <= len(plain) {
		t.Errorf("a signed id has %d bytes, a plain one %d, %v", len(signed), len(plain), err)
	}
	if none := answer(t, ``); len(none.Cookies()) != 1 {
		t.Error("without options there is no cookie")
	}
}

func TestWebMistakes(t *testing.T) {
	const secret = "c2VjcmV0"
	t.Setenv("SHORT_KEY", secret)
	for section, want := range map[string][]string{
		`{}, store: redisHashTable`:                {"strata.default.store", "snapshots: true"},
		`{idel: 1m}`:                               {"strata.default.web.idel", "commitOnPanic, cookie, header, idle,"},
		`{cookie: {samesite: lax}}`:                {"strata.default.web.cookie.samesite", "path, sameSite, secure"},
		`{cookie: {sameSite: loose}}`:              {"strata.default.web.cookie.sameSite", "lax, strict or none"},
		`{cookie: yes please}`:                     {"strata.default.web.cookie", "section"},
		`{idle: -1m}`:                              {"strata.default.web", "web.Idle", "above 0"},
		`{header: "X Session"}`:                    {"strata.default.web.header", "web.Header"},
		`{header: ""}`:                             {"strata.default.web.header", "web.Header"},
		`{bearer: true, header: X}`:                {"strata.default.web", "leave one of them out"},
		`{signed: [SHORT_KEY]}`:                    {"strata.default.web.signed", "openssl rand -base64 32"},
		`{signed: []}`:                             {"strata.default.web", "web.Signed"},
		`{signed: ABSENT_KEY}`:                     {"strata.default.web.signed", "32 bytes"},
		`{trustedOrigins: [3]}`:                    {"strata.default.web.trustedOrigins", "list of texts"},
		`{trustedOrigins: "no/origin"}`:            {"strata.default.web", "web.TrustedOrigins"},
		`{commitOnPanic: 3}`:                       {"strata.default.web.commitOnPanic", "true or false"},
		`{cookie: {secure: 1}}`:                    {"strata.default.web.cookie.secure", "true or false"},
		`{cookie: {secure: true, insecure: true}}`: {"strata.default.web", "choose one"},
		`true`: {"strata.default.web", "section"},
	} {
		c := parse(t, "strata: {default: {web: "+section+"}}")
		chain := layer.Chain(gsession.NewStorageMemory())
		_, err := config.WebOf(ctx, c, "default", chain)
		_ = chain.Close(ctx)
		if err == nil {
			t.Errorf("%s is taken", section)
			continue
		}
		for _, part := range append(want, "strata: ") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q doesn't mention %q", section, err, part)
			}
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error quotes a key", section)
		}
	}
}

// Each option of web.Sessions that a text can express has a key, and each field of the cookie.
func TestEveryWebOptionHasAKey(t *testing.T) {
	keys, err := os.ReadFile("web.go")
	if err != nil {
		t.Fatal(err)
	}
	has := func(key string) bool {
		return strings.Contains(string(keys), `"`+strings.ToLower(key[:1])+key[1:]+`":`)
	}
	files, _ := filepath.Glob("../web/*.go")
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, option := range regexp.MustCompile(`(?m)^func (\w+)\(([^\n]*)\) Option \{`).FindAllStringSubmatch(string(content), -1) {
			found++
			if !strings.Contains(option[2], "func(") && !has(option[1]) {
				t.Errorf("web.%s has no key", option[1])
			}
		}
	}
	if found < 9 {
		t.Errorf("only %d options were found", found)
	}
	cookie := reflect.TypeFor[web.CookieOptions]()
	for n := range cookie.NumField() {
		if !has(cookie.Field(n).Name) {
			t.Errorf("web.CookieOptions.%s has no key", cookie.Field(n).Name)
		}
	}
}

package online_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/online"
	"github.com/gf-strata/strata/layer/web"
)

func userOf(data map[string]any) string {
	user, _ := data["user"].(string)
	return user
}

// desk is the page over a chain of its own.
type desk struct {
	t       *testing.T
	chain   *layer.Stack
	base    string
	http    *http.Client
	actions []online.Action
}

func newDesk(t *testing.T, audited bool) *desk {
	t.Helper()
	d := &desk{t: t, chain: layer.Chain(gsession.NewStorageMemory(), layer.Indexed(userOf))}
	t.Cleanup(func() { _ = d.chain.Close(context.Background()) })
	var audit func(*http.Request, online.Action)
	if audited {
		audit = func(_ *http.Request, a online.Action) { d.actions = append(d.actions, a) }
	}
	server := httptest.NewServer(online.Handler(layer.Principals(d.chain), func(r *http.Request) bool { return r.Header.Get("X-Admin") == "yes" }, audit))
	t.Cleanup(server.Close)
	jar, _ := cookiejar.New(nil)
	d.base, d.http = server.URL+"/admin/online", &http.Client{Jar: jar}
	return d
}

func (d *desk) logIn(id, user string) {
	d.t.Helper()
	ctx := layer.WithDescription(context.Background(), map[string]string{"device": "mobile", "ip": "203.0.113.0/24", "<b>": "<script>"})
	if err := d.chain.SetSession(ctx, id, gmap.NewStrAnyMapFrom(map[string]any{"user": user}, true), time.Hour); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) lives(id string) bool {
	d.t.Helper()
	m, err := d.chain.GetSession(context.Background(), id, time.Hour)
	if err != nil {
		d.t.Fatal(err)
	}
	return m != nil && m.Size() > 0
}

// send sends a form, or asks where there is none.
func (d *desk) send(form url.Values, headers ...string) (status int, body string) {
	d.t.Helper()
	method, content := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, content = http.MethodPost, strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, d.base, content)
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("X-Admin", "yes")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for n := 0; n < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
	}
	got, err := d.http.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer got.Body.Close()
	text, _ := io.ReadAll(got.Body)
	for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Cache-Control"} {
		if got.Header.Get(name) == "" {
			d.t.Errorf("no %s", name)
		}
	}
	return got.StatusCode, string(text)
}

// hidden is what a page has in a field of its forms.
func hidden(page, name string) string {
	if m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(page); m != nil {
		return m[1]
	}
	return ""
}

func TestItServesNothingUntilItIsAllowed(t *testing.T) {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Indexed(userOf))
	defer func() { _ = chain.Close(context.Background()) }()
	for _, h := range []http.Handler{
		online.Handler(layer.Principals(chain), nil, func(*http.Request, online.Action) { t.Error("an action") }),
		online.Handler(layer.Principals(chain), func(*http.Request) bool { return false }, func(*http.Request, online.Action) { t.Error("an action") }),
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, "/", strings.NewReader("do=end_all&principal=ann")))
			if w.Code != http.StatusForbidden || len(w.Result().Cookies()) > 0 || strings.Contains(w.Body.String(), "<") {
				t.Errorf("%s returned %d %q", method, w.Code, w.Body)
			}
		}
	}
	d := newDesk(t, true)
	if status, _ := d.send(nil, "X-Admin", "no"); status != http.StatusForbidden {
		t.Errorf("another visitor is served: %d", status)
	}
}

func TestThePageListsFindsAndEnds(t *testing.T) {
	d := newDesk(t, true)
	if _, page := d.send(nil); !strings.Contains(page, "Nobody is logged in.") {
		t.Error("an empty list says nothing")
	}
	d.logIn("one-0123456789", "ann")
	d.logIn("two-0123456789", "ann")
	d.logIn("bob-0123456789", "<bob>")
	status, page := d.send(nil)
	if status != http.StatusOK || !strings.Contains(page, "ann <small>(2)") || !strings.Contains(page, "&lt;bob&gt;") || !strings.Contains(page, `<b id="count">2</b>`) {
		t.Fatalf("%d\n%s", status, page)
	}
	_, page = d.send(url.Values{"do": {"show"}, "principal": {"ann"}})
	for _, want := range []string{"Logged in", "mobile", "203.0.113.0/24", "&lt;script&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of a user lacks %q", want)
		}
	}
	if strings.Contains(page, "0123456789") || strings.Contains(page, "<script>") {
		t.Error("the page has an id of a session, or a user's HTML")
	}
	handle := hidden(page, "handle")
	_, page = d.send(url.Values{"do": {"end"}, "principal": {"ann"}, "handle": {handle}})
	if !strings.Contains(page, `id="done"`) || strings.Contains(page, handle) || d.lives("one-0123456789") == d.lives("two-0123456789") {
		t.Errorf("one session should be left:\n%s", page)
	}
	if _, page = d.send(url.Values{"do": {"end_all"}, "principal": {"ann"}}); !strings.Contains(page, "This user has no sessions.") {
		t.Errorf("sessions are left:\n%s", page)
	}
	if d.lives("one-0123456789") || d.lives("two-0123456789") || !d.lives("bob-0123456789") {
		t.Error("the wrong sessions ended")
	}
	want := []online.Action{{Did: online.Ended, Principal: "ann", Handle: handle}, {Did: online.EndedAll, Principal: "ann", Sessions: 1}}
	if len(d.actions) != 2 || d.actions[0] != want[0] || d.actions[1] != want[1] {
		t.Errorf("the audit has %+v", d.actions)
	}
}

// A request that the page itself didn't send is refused, and changes nothing.
func TestForgedActions(t *testing.T) {
	d := newDesk(t, true)
	d.logIn("one-0123456789", "ann")
	form := url.Values{"do": {"end_all"}, "principal": {"ann"}}
	for name, c := range map[string]struct {
		form    url.Values
		headers []string
		status  int
	}{
		"another site":                   {form, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		"a sibling":                      {form, []string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
		"an old browser of another site": {form, []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		"nothing to do":                  {url.Values{"x": {"y"}}, nil, http.StatusBadRequest},
		"nobody's":                       {url.Values{"do": {"end_all"}}, nil, http.StatusBadRequest},
		"no handle":                      {url.Values{"do": {"end"}, "handle": {"x"}}, nil, http.StatusBadRequest},
		"no cursor":                      {url.Values{"do": {"list"}, "cursor": {"x"}}, nil, http.StatusBadRequest},
		"a large request":                {url.Values{"do": {"show"}, "principal": {strings.Repeat("x", 1<<20)}}, nil, http.StatusBadRequest},
	} {
		if status, page := d.send(c.form, c.headers...); status != c.status || !strings.Contains(page, `id="error"`) {
			t.Errorf("%s returned %d", name, status)
		}
	}
	if !d.lives("one-0123456789") {
		t.Error("a forged request has ended a session")
	}
	for _, a := range d.actions {
		if a.Err == nil {
			t.Errorf("the audit has %+v", a)
		}
	}
	readOnly := newDesk(t, false)
	readOnly.logIn("one-0123456789", "ann")
	if status, _ := readOnly.send(form); status != http.StatusForbidden || !readOnly.lives("one-0123456789") {
		t.Errorf("without an audit: %d", status)
	}
	_, page := readOnly.send(url.Values{"do": {"show"}, "principal": {"ann"}})
	if strings.Contains(page, `class="end"`) {
		t.Error("without an audit the page offers to end sessions")
	}
}

func TestJSON(t *testing.T) {
	d := newDesk(t, true)
	d.logIn("one-0123456789", "ann")
	ask := func(body string) (status int, got struct {
		Principal, Next, Error string
		Count                  *int
		Principals             []struct {
			Principal string
			Sessions  int
		}
		Sessions []struct {
			Handle    string
			Begun     time.Time
			Described map[string]string
		}
	}) {
		t.Helper()
		method, content := http.MethodGet, io.Reader(nil)
		if body != "" {
			method, content = http.MethodPost, strings.NewReader(body)
		}
		r, _ := http.NewRequest(method, d.base, content)
		r.Header.Set("X-Admin", "yes")
		r.Header.Set("Accept", "application/json")
		r.Header.Set("Content-Type", "application/json")
		a, err := d.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		if err := json.NewDecoder(a.Body).Decode(&got); err != nil {
			t.Fatal(err)
		}
		return a.StatusCode, got
	}
	_, got := ask("")
	if len(got.Principals) != 1 || got.Principals[0].Principal != "ann" || got.Principals[0].Sessions != 1 || got.Count == nil || *got.Count != 1 {
		t.Fatalf("%+v", got)
	}
	post := func(fields string) string { return `{` + fields + `}` }
	_, shown := ask(post(`"do":"show","principal":"ann"`))
	if len(shown.Sessions) != 1 || shown.Sessions[0].Described["device"] != "mobile" || time.Since(shown.Sessions[0].Begun) > time.Hour {
		t.Fatalf("%+v", shown)
	}
	if status, ended := ask(post(`"do":"end","principal":"ann","handle":"` + shown.Sessions[0].Handle + `"`)); status != http.StatusOK || len(ended.Sessions) != 0 || d.lives("one-0123456789") {
		t.Errorf("%d %+v", status, ended)
	}
	if status, bad := ask(`{"do":"end_all"}`); status != http.StatusBadRequest || bad.Error == "" {
		t.Errorf("%d %+v", status, bad)
	}
	if status, _ := ask(`{`); status != http.StatusBadRequest {
		t.Errorf("%d", status)
	}
}

func TestLanguages(t *testing.T) {
	d := newDesk(t, true)
	for accept, want := range map[string]string{
		"": "On-line users", "en": "On-line users", "zh-CN,zh;q=0.9,en;q=0.8": "在线用户", "zh": "在线用户",
		"fr, en;q=0.7, zh;q=0.3": "On-line users", "de;q=1, zh-TW;q=0.5": "在线用户", ";;q=x,,": "On-line users",
	} {
		if _, page := d.send(nil, "Accept-Language", accept); !strings.Contains(page, "<h1>"+want+"</h1>") {
			t.Errorf("%q isn't %q", accept, want)
		}
	}
}

func TestUnderGhttpTheAdministratorsOwnSessionIsMarked(t *testing.T) {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Indexed(nil))
	defer func() { _ = chain.Close(context.Background()) }()
	server := ghttp.GetServer(t.Name())
	if err := server.SetConfigWithMap(map[string]any{"address": "127.0.0.1:0", "dumpRouterMap": false, "accessLogEnabled": false}); err != nil {
		t.Fatal(err)
	}
	server.Logger().SetStdoutPrint(false)
	server.SetSessionMaxAge(time.Hour)
	server.Use(web.Sessions(chain))
	server.BindHandler("/login", func(r *ghttp.Request) {
		if err := web.Login(r, "ann"); err != nil {
			t.Error(err)
		}
	})
	page := online.Handler(layer.Principals(chain), func(r *http.Request) bool {
		return web.Principal(ghttp.RequestFromCtx(r.Context())) == "ann"
	}, func(*http.Request, online.Action) {})
	server.BindHandler("/online", ghttp.WrapH(page))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Shutdown() }()
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar}
	get := func(path string, form url.Values) (int, string) {
		t.Helper()
		var (
			got *http.Response
			err error
			at  = "http://" + strings.TrimPrefix(server.GetListenedAddress(), "http://") + path
		)
		if form == nil {
			got, err = client.Get(at)
		} else {
			got, err = client.PostForm(at, form)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		text, _ := io.ReadAll(got.Body)
		return got.StatusCode, string(text)
	}
	if status, _ := get("/online", nil); status != http.StatusForbidden {
		t.Errorf("a visitor is served: %d", status)
	}
	get("/login", nil)
	status, shown := get("/online", url.Values{"do": {"show"}, "principal": {"ann"}})
	if status != http.StatusOK || strings.Count(shown, "this is you") != 1 {
		t.Errorf("%d\n%s", status, shown)
	}
	get("/online", url.Values{"do": {"end"}, "principal": {"ann"}, "handle": {hidden(shown, "handle")}})
	if status, _ := get("/online", nil); status != http.StatusForbidden {
		t.Errorf("an ended administrator is served: %d", status)
	}
}

// A name with a space at its end is another user's.
func TestAPrincipalIsTakenAsItIs(t *testing.T) {
	d := newDesk(t, true)
	d.logIn("of-ann-0123456789", "ann")
	d.logIn("of-mallory-0123456789", "ann ")
	status, _ := d.send(url.Values{"do": {"end_all"}, "principal": {"ann "}})
	if status != http.StatusOK || !d.lives("of-ann-0123456789") || d.lives("of-mallory-0123456789") {
		t.Errorf("%d: ann lives on: %v, mallory: %v", status, d.lives("of-ann-0123456789"), d.lives("of-mallory-0123456789"))
	}
}

// A principal with very many sessions is shown in pages.
func TestManySessionsAreShownInPages(t *testing.T) {
	d := newDesk(t, true)
	const many = 230
	for n := range many {
		d.logIn(fmt.Sprintf("session-%d-0123456789", n), "ann")
	}
	cursor, shown := "", map[string]bool{}
	for pages := 1; ; pages++ {
		form := url.Values{"do": {"show"}, "principal": {"ann"}, "cursor": {cursor}}
		status, page := d.send(form)
		if status != http.StatusOK || pages > 3 {
			t.Fatalf("page %d returned %d", pages, status)
		}
		handles := regexp.MustCompile(`name="handle" value="([^"]*)"`).FindAllStringSubmatch(page, -1)
		if len(handles) > 100 {
			t.Errorf("page %d has %d sessions", pages, len(handles))
		}
		for _, h := range handles {
			shown[h[1]] = true
		}
		_, body := d.send(form, "Accept", "application/json")
		var answer struct{ Next string }
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
		if cursor = answer.Next; cursor == "" {
			break
		}
		if !strings.Contains(page, `name="cursor" value="`+cursor+`"`) {
			t.Error("the page doesn't lead to the next one")
		}
	}
	if len(shown) != many {
		t.Errorf("%d sessions are shown", len(shown))
	}
	if status, _ := d.send(url.Values{"do": {"show"}, "principal": {"ann"}, "cursor": {"x"}}); status != http.StatusBadRequest {
		t.Errorf("a cursor of nothing returned %d", status)
	}
}

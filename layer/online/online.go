// Package online is a page of the users who are on line, and of their sessions, for
// administrators: it lists them, finds those of a principal, and ends one of them or all (在线用户、
// 踢人下线).
//
//	users := layer.Principals(chain)
//	page := online.Handler(users, isAdmin, func(r *http.Request, a online.Action) { ... })
//	server.BindHandler("/admin/online", ghttp.WrapH(page)) // or http.Handle("/admin/online", page)
//
// It is in English and Chinese, by Accept-Language, works without scripts, and loads nothing from
// elsewhere. All that can be seen and done there can be done by JSON as well, see [Handler].
//
// Principals are in the bodies of requests and responses alone, and in no address, so that they
// get into no access log.
package online

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
)

//go:embed page.html
var page string

var parsed = template.Must(template.New("online").Parse(page))

// Action is what an administrator has done. It is given to the audit function once it is done, or
// has failed.
type Action struct {
	Did       string // [Ended] or [EndedAll]
	Principal string // whose sessions; of Ended as the page says
	Handle    string // of Ended: which one
	Sessions  int    // of EndedAll: how many were found
	Err       error  // nil if it succeeded
}

// The values of Action.Did.
const (
	Ended    = "end"
	EndedAll = "end_all"
)

// Handler serves the page to requests that allow returns true for, and 403 to all others: without
// allow, to all. Each action is given to audit, with the request that allow knows the
// administrator of; without audit nothing can be ended.
//
// A request that accepts JSON and no HTML gets JSON: a page of principals and their count, or of a principal's sessions, the cursor
// of the next page, or an error. GET gets the first principals. A POST has, as a form or as JSON, a field do, and others:
//
//	list     cursor             lists principals
//	show     principal, cursor  lists a principal's sessions
//	end      handle, principal  ends a session, and lists the principal's others
//	end_all  principal          ends all of a principal's sessions
//
// A POST of another site's page is refused (http.CrossOriginProtection).
//
// Under web.Sessions, the administrator's own session is marked.
func Handler(users *layer.Users, allow func(*http.Request) bool, audit func(*http.Request, Action)) http.Handler {
	if users == nil {
		panic("strata: online.Handler needs the users of a chain; pass layer.Principals(chain)")
	}
	return &handler{users: users, allow: allow, audit: audit}
}

// handler is the page. Its fields are set by Handler.
type handler struct {
	users *layer.Users
	allow func(*http.Request) bool
	audit func(*http.Request, Action)
	cross http.CrossOriginProtection
}

const mostBody = 64 << 10

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Add("Vary", "Accept, Accept-Language")
	if h.allow == nil || !h.allow(r) {
		http.Error(w, "this page is for administrators; see online.Handler", http.StatusForbidden)
		return
	}
	v := &view{Words: words(r.Header), Actions: h.audit != nil, json: wantsJSON(r)}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		h.do(r, v, request{Do: "list"})
	case http.MethodPost:
		asked, err := read(w, r)
		switch {
		case h.cross.Check(r) != nil:
			v.fail(http.StatusForbidden, v.Words.Forged)
		case err != nil:
			v.fail(http.StatusBadRequest, v.Words.Malformed)
		default:
			h.do(r, v, asked)
		}
	default:
		header.Set("Allow", "GET, HEAD, POST")
		http.Error(w, "only GET and POST", http.StatusMethodNotAllowed)
		return
	}
	v.send(w)
}

// request is the body of a POST.
type request struct {
	Do        string `json:"do"`
	Principal string `json:"principal"`
	Handle    string `json:"handle"`
	Cursor    string `json:"cursor"`
}

func read(w http.ResponseWriter, r *http.Request) (asked request, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, mostBody)
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/json" {
		return asked, json.NewDecoder(r.Body).Decode(&asked)
	}
	err = r.ParseForm()
	form := r.PostForm
	return request{Do: form.Get("do"), Principal: form.Get("principal"), Handle: form.Get("handle"), Cursor: form.Get("cursor")}, err
}

// do carries out what was asked for, and shows what there is then.
func (h *handler) do(r *http.Request, v *view, asked request) {
	ctx := r.Context()
	var err error
	switch asked.Do {
	case "list":
	case "show":
	case Ended, EndedAll:
		if h.audit == nil {
			v.fail(http.StatusForbidden, v.Words.ReadOnly)
			return
		}
		a := Action{Did: asked.Do, Principal: asked.Principal}
		if asked.Do == Ended {
			a.Handle = asked.Handle
			a.Err = h.users.Revoke(ctx, asked.Handle, layer.ReasonEndedByAdmin)
		} else if asked.Principal != "" {
			a.Sessions, a.Err = h.users.RevokeAll(ctx, asked.Principal, layer.ReasonEndedByAdmin)
		} else {
			v.fail(http.StatusBadRequest, v.Words.Malformed)
			return
		}
		if h.audit(r, a); a.Err == nil {
			v.Done = v.Words.Done
		}
		err = a.Err
	default:
		v.fail(http.StatusBadRequest, v.Words.Malformed)
		return
	}
	if err == nil {
		err = h.show(ctx, r, v, asked)
	}
	switch {
	case err == nil:
	case errors.Is(err, layer.ErrHandle), errors.Is(err, layer.ErrCursor):
		v.fail(http.StatusBadRequest, v.Words.Malformed)
	default:
		v.fail(http.StatusServiceUnavailable, v.Words.Unreachable)
	}
}

// show fills the view with the sessions of a principal, or with principals.
func (h *handler) show(ctx context.Context, r *http.Request, v *view, asked request) error {
	if asked.Principal == "" {
		page, next, err := h.users.All(ctx, asked.Cursor)
		if err != nil {
			return err
		}
		count, err := h.users.Count(ctx)
		v.Count, v.Next, v.Principals = &count, next, []principal{}
		for _, p := range page {
			v.Principals = append(v.Principals, principal{Principal: p.Principal, Sessions: p.Sessions})
		}
		return err
	}
	list, next, err := h.users.List(ctx, asked.Principal, asked.Cursor)
	if err != nil {
		return err
	}
	own := ""
	if g := ghttp.RequestFromCtx(r.Context()); g != nil {
		own, _ = web.Handle(g) // without web.Sessions there is none
	}
	v.Principal, v.Cursor, v.Next, v.Sessions = asked.Principal, asked.Cursor, next, []session{}
	for _, s := range list {
		v.Sessions = append(v.Sessions, session{
			Handle: s.Handle, Begun: s.Begun.UTC(), Seen: s.Seen.UTC(), Described: s.Described, Own: s.Handle == own,
		})
	}
	return nil
}

// principal is a line of the list, as JSON has it.
type principal struct {
	Principal string `json:"principal"`
	Sessions  int    `json:"sessions"`
}

// session is a principal's session in JSON.
type session struct {
	Handle    string            `json:"handle"`
	Begun     time.Time         `json:"begun"`
	Seen      time.Time         `json:"seen"`
	Described map[string]string `json:"described,omitempty"`
	Own       bool              `json:"own,omitempty"` // the administrator's
}

// view is a response.
type view struct {
	Words      *wording    `json:"-"`
	Count      *int        `json:"count,omitempty"` // of principals
	Principals []principal `json:"principals,omitzero"`
	Next       string      `json:"next,omitempty"` // cursor
	Cursor     string      `json:"-"`              // of this page of sessions
	Principal  string      `json:"principal,omitempty"`
	Sessions   []session   `json:"sessions,omitzero"`
	Actions    bool        `json:"-"`
	Done       string      `json:"-"`
	Error      string      `json:"error,omitempty"`

	json   bool
	status int
}

func (v *view) fail(status int, text string) { v.status, v.Error = status, text }

func (v *view) send(w http.ResponseWriter) {
	kind := "text/html; charset=utf-8"
	if v.json {
		kind = "application/json; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	if v.status != 0 {
		w.WriteHeader(v.status)
	}
	// The client may have left.
	if v.json {
		_ = json.NewEncoder(w).Encode(v)
	} else {
		_ = parsed.Execute(w, v)
	}
}

func wantsJSON(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "json") && !strings.Contains(accept, "html")
}

// wording is the page in one language.
type wording struct {
	Lang, Title, Lead, Search, Find, All, None, NoSessions, Sessions, Principal string
	Begun, Seen, Device, Own, End, EndAll, Sure, Next, Show                     string
	Done, Forged, Malformed, ReadOnly, Unreachable                              string
}

var english = &wording{
	Lang: "en", Title: "On-line users", Lead: "Users with sessions:", Search: "User", Find: "Find", All: "All users",
	None: "Nobody is logged in.", NoSessions: "This user has no sessions.", Sessions: "Sessions:", Principal: "User",
	Begun: "Logged in", Seen: "Last seen", Device: "Device", Own: "this is you", End: "End", EndAll: "End all sessions",
	Sure: "Yes, end all", Next: "More", Show: "Show",
	Done: "Done. It is effective on every node.", Forged: "This request didn't come from this page. Open the page again.",
	Malformed: "This request can't be understood. Open the page again.", ReadOnly: "This page may only be looked at.",
	Unreachable: "The sessions can't be reached at present. Try again.",
}

var chinese = &wording{
	Lang: "zh-CN", Title: "在线用户", Lead: "在线用户数：", Search: "用户", Find: "查找", All: "全部用户",
	None: "没有用户登录。", NoSessions: "该用户没有会话。", Sessions: "会话：", Principal: "用户",
	Begun: "登录时间", Seen: "最近活动", Device: "设备", Own: "当前会话", End: "下线", EndAll: "全部下线",
	Sure: "确认全部下线", Next: "更多", Show: "查看",
	Done: "已完成，在所有节点上生效。", Forged: "请求不是由本页面发出的。请重新打开页面。",
	Malformed: "无法识别该请求。请重新打开页面。", ReadOnly: "本页面仅供查看。",
	Unreachable: "目前无法访问会话，请稍后重试。",
}

// words is the language that the client would rather have.
func words(header http.Header) *wording {
	best, found := 0.0, english
	for field := range strings.SplitSeq(header.Get("Accept-Language"), ",") {
		tag, weight, _ := strings.Cut(strings.TrimSpace(field), ";")
		q := 1.0
		if value, ok := strings.CutPrefix(strings.TrimSpace(weight), "q="); ok {
			q, _ = strconv.ParseFloat(value, 64)
		}
		language, _, _ := strings.Cut(strings.ToLower(tag), "-")
		if q > best {
			switch language {
			case "zh":
				best, found = q, chinese
			case "en":
				best, found = q, english
			}
		}
	}
	return found
}

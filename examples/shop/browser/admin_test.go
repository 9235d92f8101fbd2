package browser

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// An administrator finds a user by keyboard and ends his sessions, in both languages; the user is out in his browser.
func TestTheAdministrator(t *testing.T) {
	for language, says := range map[string]string{"en": "On-line users", "zh-CN": "在线用户"} {
		base, admin, ann := shop(t, "-admin"), chromium(t), chromium(t)
		run(t, ann, chromedp.Navigate(base), login("Ann"), chromedp.Navigate(base+"/admin"),
			Becomes(`document.body.innerText.includes("for administrators") && !document.forms.length`), chromedp.Navigate(base), shows("hello", "Welcome, Ann"))
		run(t, admin, network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": language}), chromedp.Navigate(base),
			Becomes(`document.getElementById("login")?.hidden === false`), chromedp.SetValue("#name", "admin"), chromedp.Click("#login button"),
			Becomes(`document.getElementById("login").hidden`), chromedp.Navigate(base+"/admin"),
			Becomes(fmt.Sprintf(`document.querySelector("h1").textContent === %q && document.querySelectorAll("#principals li").length === 2`, says)),
			chromedp.Focus(`[name=principal]:not([type=hidden])`), chromedp.KeyEvent("Ann\r"),
			Becomes(`document.querySelectorAll("#sessions li").length === 1 && !document.querySelector(".mine")`),
			chromedp.Focus("#sessions button"), chromedp.KeyEvent("\r"),
			Becomes(`document.getElementById("done") && !document.querySelector("#sessions button")`))
		run(t, ann, chromedp.Reload(), nobody, login("Ann"))
		run(t, admin, chromedp.Focus(`[name=principal]:not([type=hidden])`), chromedp.KeyEvent("\r"), Becomes(`document.querySelector("#all")`),
			chromedp.Focus("summary"), chromedp.KeyEvent("\r"), Becomes(`document.querySelector("#all").open`),
			chromedp.Focus("#all button"), chromedp.KeyEvent("\r"), Becomes(`document.getElementById("done")`))
		run(t, ann, chromedp.Reload(), nobody)
	}
}

func TestTheAdministratorsPageEverywhere(t *testing.T) {
	base, ctx := shop(t, "-admin"), chromium(t)
	run(t, ctx, chromedp.Navigate(base), login("admin"))
	for _, width := range []int64{375, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			var overflow, dark bool
			var pale, small string
			run(t, ctx, chromedp.EmulateViewport(width, 900),
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
				chromedp.Navigate(base+"/admin"), Becomes(`document.querySelector("#principals button")`), chromedp.Evaluate(`document.querySelector("#principals button").click()`, nil),
				Becomes(`document.querySelector(".mine")`), chromedp.Evaluate(`document.querySelector("#all").open = true`, nil),
				chromedp.Evaluate("document.documentElement.scrollWidth > innerWidth", &overflow),
				chromedp.Evaluate(`getComputedStyle(document.body).backgroundColor === "rgb(16, 21, 28)"`, &dark),
				chromedp.Evaluate(contrast, &pale),
				chromedp.Evaluate(`[...document.querySelectorAll("button, summary, input:not([type=hidden])")].filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML).join()`, &small))
			if overflow || dark != (scheme == "dark") || pale != "" || small != "" {
				t.Errorf("%d %s: wider %v, dark %v, hard to read %q, hard to touch %q", width, scheme, overflow, dark, pale, small)
			}
		}
	}
}

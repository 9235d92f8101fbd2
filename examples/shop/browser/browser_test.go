package browser

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

const deadline = 3 * time.Minute // of a test, on a busy machine

// binary is the shop; TestMain sets it.
var binary string

func TestMain(m *testing.M) { os.Exit(withBinary(m)) }

func withBinary(m *testing.M) int {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "shop")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// shop runs the shop, and returns its address.
func shop(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"-addr", "127.0.0.1:0", "-dir", t.TempDir()}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	_, base, _ := strings.Cut(strings.TrimSpace(line), " on ")
	return base
}

// chromium starts a browser with a profile of its own. Where there is none, the test says so; `make
// test` has tried to install one by then.
func chromium(t *testing.T) context.Context {
	t.Helper()
	opts, ok := Chromium()
	if !ok {
		fmt.Println("== the shop's page was not driven, as chromium is missing")
		t.Skip("chromium is missing")
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	run(t, ctx)
	return ctx
}

func run(t *testing.T, ctx context.Context, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

func shows(id, text string) chromedp.Action {
	return Becomes(fmt.Sprintf(`document.getElementById(%q)?.textContent.includes(%q)`, id, text))
}

// nobody is logged in, by the page.
var nobody = Becomes(`document.getElementById("login")?.hidden === false`)

func login(name string) chromedp.Tasks {
	return chromedp.Tasks{
		nobody, chromedp.SetValue("#name", name), chromedp.Click("#login button"),
		shows("hello", "Welcome, "+name),
	}
}

func TestAVisitor(t *testing.T) {
	base, ctx := shop(t), chromium(t)
	cookies := func() (id string) {
		run(t, ctx, chromedp.ActionFunc(func(ctx context.Context) error {
			all, err := network.GetCookies().Do(ctx)
			for _, c := range all {
				if c.Name == "shop" {
					id = c.Value
					if !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax {
						t.Errorf("the cookie is open to scripts or other sites: %v %v", c.HTTPOnly, c.SameSite)
					}
				}
			}
			return err
		}))
		return id
	}
	run(t, ctx, chromedp.Navigate(base), shows("cart", "Nothing"))
	before := cookies()
	run(t, ctx, login("Ann"))
	after := cookies()
	if before == "" || after == before {
		t.Error("the log-in didn't change the id")
	}
	// Three requests at once, five times: none is lost.
	for n := 1; n <= 5; n++ {
		run(t, ctx, chromedp.Click(`[data-add="bread cheese tea"]`),
			shows("cart", fmt.Sprintf("%d × bread", n)), shows("cart", fmt.Sprintf("%d × cheese", n)), shows("cart", fmt.Sprintf("%d × tea", n)))
	}
	var scripted string
	run(t, ctx, chromedp.Evaluate("document.cookie", &scripted))
	if scripted != "" {
		t.Error("a script reads the cookie")
	}

	// A second tab of the browser sees the log-in, and the log-out at once.
	tab, closeTab := chromedp.NewContext(ctx)
	defer closeTab()
	run(t, tab, chromedp.Navigate(base), shows("hello", "Welcome, Ann"), shows("cart", "5 × tea"))

	// Another browser is nobody.
	other := chromium(t)
	run(t, other, chromedp.Navigate(base), shows("cart", "Nothing"), login("Bob"))
	run(t, ctx, shows("hello", "Welcome, Ann"))

	run(t, ctx, chromedp.Click("#logout button"), nobody, shows("cart", "Nothing"))
	run(t, tab, nobody, shows("cart", "Nothing"))
	if cookies() == after {
		t.Error("the browser has the id of the session that ended")
	}
	// The page from before the log-out, by the back button, doesn't show the session either.
	run(t, ctx, chromedp.Navigate(base+"/state"), chromedp.Evaluate("history.back()", nil), nobody, shows("cart", "Nothing"))
	run(t, other, chromedp.Reload(), shows("hello", "Welcome, Bob"))
}

// The page says what was wrong beside the field, keeps the focus where a person left it, and says
// aloud what it counts.
func TestAPersonWithoutAMouse(t *testing.T) {
	base, ctx := shop(t), chromium(t)
	run(t, ctx, chromedp.Navigate(base), nobody, chromedp.Focus("#name"), chromedp.KeyEvent("\r"),
		shows("name-error", "1 to 40"),
		Becomes(`document.activeElement.id === "name" && document.activeElement.getAttribute("aria-invalid") === "true"`),
		chromedp.KeyEvent("Ann\r"), shows("hello", "Welcome, Ann"),
		Becomes(`document.getElementById("logout").contains(document.activeElement)`),
		Becomes(`document.getElementById("name-error").textContent === ""`),
		chromedp.Focus("#look"), chromedp.KeyEvent("\r"),
		Becomes(`+document.querySelector("[data-count=loads] .without").firstChild.data >= 10`),
		Becomes(`document.activeElement.id === "look"`),
		shows("heard", "reads of the store"), Becomes(`document.getElementById("heard").getAttribute("aria-live") === "polite"`),
		chromedp.Focus("#logout button"), chromedp.KeyEvent("\r"), nobody,
		Becomes(`document.activeElement.id === "name"`),
		Becomes(`[...document.querySelectorAll("button, input")].every(e => (e.getAttribute("aria-label") || e.textContent).trim())`),
	)
}

// Both shops answer each click, and the trials come out as claimed, in both languages.
func TestTrialsOnThePage(t *testing.T) {
	for language, says := range map[string][2]string{"en": {"✓ Logged out", "✗ Logged in again"}, "zh-CN": {"✓ 已退出登录", "✗ 又变成登录状态"}} {
		base, ctx := shop(t), chromium(t)
		result := `document.querySelector("[data-try=logout]").parentNode.querySelector("dl").innerText`
		run(t, ctx, network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": language}), chromedp.Navigate(base),
			Becomes(fmt.Sprintf("document.documentElement.lang === %q", language)),
			Becomes(`document.querySelector("#cart li.none")`), chromedp.Click("[data-try=logout]"),
			Becomes(fmt.Sprintf("%s.includes(%q) && %[1]s.includes(%q)", result, says[0], says[1])),
			chromedp.Click("[data-try=changes]"), Becomes(`document.querySelectorAll(".trial dl b").length === 4`),
			Becomes(`document.querySelectorAll(".trial .bad").length === 2`))
	}
}

// A log-in and a log-out at one node are seen at the other without a click.
func TestTwoPanes(t *testing.T) {
	base, ctx := shop(t, "-nodes", "2"), chromium(t)
	run(t, ctx, chromedp.Navigate(base), Becomes(`document.querySelectorAll("iframe").length === 2`),
		InFrame(0, `document.getElementById("login")?.hidden === false`), InFrame(1, `document.getElementById("login")?.hidden === false`),
		InFrame(0, `document.getElementById("name").value = "Ann", document.querySelector("#login button").click(), true`),
		InFrame(1, `document.getElementById("hello").textContent === "Welcome, Ann"`),
		InFrame(1, `document.querySelector("#logout button").click(), true`),
		InFrame(0, `document.getElementById("login").hidden === false`))
}

// contrast returns what is hard to read: each text whose contrast with what is behind it is less
// than 4.5 to 1.
const contrast = `(() => {
	const rgba = s => s.match(/[\d.]+/g).map(Number);
	const over = (a, b) => { const k = a[3] ?? 1; return [0, 1, 2].map(n => k * a[n] + (1 - k) * b[n]); };
	const ground = e => { const chain = []; for (; e; e = e.parentElement) chain.unshift(rgba(getComputedStyle(e).backgroundColor)); return chain.reduce((below, c) => over(c, below), [255, 255, 255]); };
	const light = c => c.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
	const texts = [...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && !/SCRIPT|STYLE/.test(e.tagName) && (e.placeholder || [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())));
	return texts.flatMap(e => {
		const below = ground(e), [a, b] = [light(over(rgba(getComputedStyle(e, e.placeholder ? "::placeholder" : null).color), below)), light(below)].sort((x, y) => y - x);
		const ratio = (a + .05) / (b + .05);
		return ratio < 4.5 ? [e.tagName + " " + (e.placeholder || e.textContent.trim().slice(0, 30)) + ": " + ratio.toFixed(2)] : [];
	}).concat(texts.length < 15 ? ["only " + texts.length + " texts were found"] : []).join("; ");
})()`

// The page is usable on a phone and a desk, light and dark, and says what it needs where scripts
// are off.
func TestThePageEverywhere(t *testing.T) {
	base, ctx := shop(t), chromium(t)
	for _, width := range []int64{375, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			for _, scripts := range []bool{true, false} {
				var overflow bool
				var ground, ink, text string
				run(t, ctx,
					chromedp.EmulateViewport(width, 900),
					emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
					emulation.SetScriptExecutionDisabled(!scripts),
					chromedp.Navigate(base),
				)
				var pale string
				if scripts {
					run(t, ctx, shows("cart", "Nothing"), chromedp.Click("[data-try=logout]"), Becomes(`document.querySelector(".trial .bad")`),
						chromedp.Evaluate(`document.getElementById("name-error").textContent = document.getElementById("message").textContent = "wrong"`, nil),
						chromedp.Evaluate(contrast, &pale))
				}
				if pale != "" {
					t.Errorf("%d %s: hard to read: %s", width, scheme, pale)
				}
				run(t, ctx,
					chromedp.Evaluate("document.documentElement.scrollWidth > innerWidth", &overflow),
					chromedp.Evaluate("getComputedStyle(document.body).backgroundColor", &ground),
					chromedp.Evaluate("getComputedStyle(document.body).color", &ink),
					chromedp.Evaluate("document.body.innerText", &text),
				)
				name := fmt.Sprintf("%d-%s-scripts-%v", width, scheme, scripts)
				if overflow {
					t.Errorf("%s: the page is wider than the window", name)
				}
				if dark := ground == "rgb(20, 24, 29)"; dark != (scheme == "dark") || ground == ink {
					t.Errorf("%s: %s on %s", name, ink, ground)
				}
				if says := strings.Contains(text, "needs JavaScript"); says == scripts {
					t.Errorf("%s: the page says %q", name, text)
				}
			}
		}
	}
}

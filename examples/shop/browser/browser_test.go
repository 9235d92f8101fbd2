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

const deadline = 60 * time.Second

// shop builds and runs the shop, and returns its address.
func shop(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "shop")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(binary, "-addr", "127.0.0.1:0", "-dir", t.TempDir())
	cmd.Stderr = os.Stderr
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
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		fmt.Println("== the shop's page was not driven, as chromium is missing")
		t.Skip("chromium is missing")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	for _, flag := range []string{"disable-background-networking", "disable-component-update", "disable-sync", "no-first-run", "disable-gpu", "disable-quic"} {
		opts = append(opts, chromedp.Flag(flag, true))
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

// becomes waits until an expression holds on the page. It asks anew each time, as the page may be
// another one meanwhile.
func becomes(expression string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		for end := time.Now().Add(20 * time.Second); ; {
			var holds bool
			if err := chromedp.Evaluate("!!("+expression+")", &holds).Do(ctx); err == nil && holds {
				return nil
			}
			if time.Now().After(end) {
				return fmt.Errorf("the page never has %s", expression)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

func shows(id, text string) chromedp.Action {
	return becomes(fmt.Sprintf(`document.getElementById(%q)?.textContent.includes(%q)`, id, text))
}

// nobody is logged in, by the page.
var nobody = becomes(`document.getElementById("login")?.hidden === false`)

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

// The page is usable on a phone and a desk, light and dark, and says what it needs where scripts
// are off. STRATA_SCREENSHOTS names a folder for the pictures.
func TestThePageEverywhere(t *testing.T) {
	base, ctx := shop(t), chromium(t)
	for _, width := range []int64{375, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			for _, scripts := range []bool{true, false} {
				var overflow bool
				var ground, ink, text string
				var picture []byte
				run(t, ctx,
					chromedp.EmulateViewport(width, 900),
					emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
					emulation.SetScriptExecutionDisabled(!scripts),
					chromedp.Navigate(base),
				)
				if scripts {
					run(t, ctx, shows("cart", "Nothing"))
				}
				run(t, ctx,
					chromedp.Evaluate("document.documentElement.scrollWidth > innerWidth", &overflow),
					chromedp.Evaluate("getComputedStyle(document.body).backgroundColor", &ground),
					chromedp.Evaluate("getComputedStyle(document.body).color", &ink),
					chromedp.Evaluate("document.body.innerText", &text),
					chromedp.FullScreenshot(&picture, 100),
				)
				name := fmt.Sprintf("%d-%s-scripts-%v", width, scheme, scripts)
				if overflow {
					t.Errorf("%s: the page is wider than the window", name)
				}
				if dark := ground == "rgb(21, 24, 29)"; dark != (scheme == "dark") || ground == ink {
					t.Errorf("%s: %s on %s", name, ink, ground)
				}
				if says := strings.Contains(text, "needs JavaScript"); says == scripts {
					t.Errorf("%s: the page says %q", name, text)
				}
				if dir := os.Getenv("STRATA_SCREENSHOTS"); dir != "" {
					if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
}

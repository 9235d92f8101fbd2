// Command screenshots makes the pictures of README and docs from the running programs:
//
//	go run ./screenshots -root ../../.. -to ../../../docs/images
//
// The report's picture is of the newest page in bench/results, if there is one.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/gf-strata/strata/examples/shop/browser"
)

const runTimeout = 3 * time.Minute

// picture is what a browser of some width sees once the page is as wanted.
type picture struct {
	name          string
	url           string
	width, height int64 // in CSS pixels; height 0 is the whole page
	dark          bool
	language      string
	stays         bool // is still the visitor of the picture before
	until         []chromedp.Action
}

func main() {
	root := flag.String("root", "../../..", "the repository")
	to := flag.String("to", "", "the folder for the pictures (docs/images)")
	flag.Parse()
	if *to == "" {
		*to = filepath.Join(*root, "docs", "images")
	}
	if err := run(*root, *to); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

func run(root, to string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	opts, ok := browser.Chromium()
	if !ok {
		return errors.New("chromium is missing: make chromium")
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "screenshots")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	shop, end, err := start(ctx, work, root, "./examples/shop", "-redis", "start")
	if err != nil {
		return err
	}
	defer end()
	nodes, end, err := start(ctx, work, root, "./examples/shop", "-nodes", "2")
	if err != nil {
		return err
	}
	defer end()
	redis, end, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer end()
	observed, end, err := start(ctx, work, filepath.Join(root, "examples", "observed"), ".", "-redis", redis)
	if err != nil {
		return err
	}
	defer end()
	if err := visit(observed); err != nil {
		return err
	}

	trials := []chromedp.Action{
		browser.Becomes(`document.querySelector("#cart li")`), login("Ann"), click(`[data-add="bread cheese tea"]`), rests, click("#look"), rests,
		click("[data-try=logout]"), browser.Becomes(`document.querySelectorAll(".trial dl b").length === 2`),
		click("[data-try=changes]"), browser.Becomes(`document.querySelectorAll(".trial dl b").length === 4`),
		click("[data-try=outage]"), browser.Becomes(`document.querySelectorAll(".trial dl b").length === 6`), chromedp.Evaluate("document.activeElement.blur()", nil),
	}
	pictures := []picture{
		{"shop", shop, 1120, 0, false, "en", false, trials},
		{"shop-phone", shop, 375, 812, true, "en", true, []chromedp.Action{browser.Becomes(`document.querySelector("#cart li")`), browser.Becomes(`document.getElementById("login").hidden`)}},
		{"shop-nodes", nodes, 1120, 800, false, "en", false, []chromedp.Action{browser.Becomes(`document.querySelectorAll("iframe").length === 2`), inPanes}},
		{"status", observed + "/status/", 1000, 900, false, "en", false, []chromedp.Action{browser.Becomes(`document.querySelector("svg polyline, svg rect")`)}},
		{"status-phone", observed + "/status/", 375, 812, true, "en", false, []chromedp.Action{browser.Becomes(`document.querySelector("svg rect")`)}},
		{"shop-zh", shop, 1120, 0, false, "zh-CN", false, trials}, // when Redis is back from the trials of the first picture
	}
	reports, err := filepath.Glob(filepath.Join(root, "bench", "results", "*.html"))
	if err != nil {
		return err
	}
	if len(reports) == 0 {
		fmt.Println("== no picture of the report, as bench/results has none: make bench")
	} else {
		newest, err := filepath.Abs(slices.Max(reports))
		if err != nil {
			return err
		}
		pictures = append(pictures, picture{"report", "file://" + newest, 1000, 1100, false, "en", false, nil})
	}

	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	total := 0
	for _, p := range pictures {
		size, err := p.take(ctx, to)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Printf("%-14s %4d KiB\n", p.name, size>>10)
		total += size
	}
	fmt.Printf("%-14s %4d KiB\n", "together", total>>10)
	return nil
}

func (p picture) take(ctx context.Context, to string) (int, error) {
	scheme, scale := "light", 1.5
	if p.dark {
		scheme, scale = "dark", 2
	}
	height := p.height
	if height == 0 {
		height = 900
	}
	actions := []chromedp.Action{
		chromedp.EmulateViewport(p.width, height, chromedp.EmulateScale(scale)),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": p.language}),
		chromedp.Navigate(p.url),
	}
	if !p.stays {
		actions = slices.Insert(actions, 0, chromedp.Action(network.ClearBrowserCookies()))
	}
	actions = append(actions, p.until...)
	if p.height == 0 {
		actions = append(actions, chromedp.ActionFunc(func(ctx context.Context) error {
			var whole int64
			if err := chromedp.Evaluate("document.documentElement.scrollHeight", &whole).Do(ctx); err != nil {
				return err
			}
			return chromedp.EmulateViewport(p.width, whole, chromedp.EmulateScale(scale)).Do(ctx)
		}))
	}
	var image []byte
	actions = append(actions, chromedp.ActionFunc(func(ctx context.Context) (err error) {
		image, err = page.CaptureScreenshot().WithFormat(page.CaptureScreenshotFormatWebp).WithQuality(82).Do(ctx)
		return err
	}))
	if err := chromedp.Run(ctx, actions...); err != nil {
		return 0, err
	}
	return len(image), os.WriteFile(filepath.Join(to, p.name+".webp"), image, 0o644)
}

func click(selector string) chromedp.Action { return chromedp.Click(selector) }

func login(name string) chromedp.Action {
	return chromedp.Tasks{chromedp.SetValue("#name", name), click("#login button"), browser.Becomes(`document.getElementById("login").hidden`)}
}

// rests waits until the page has said what it counted, which it does when nothing has changed for a moment.
var rests = chromedp.Tasks{
	chromedp.Evaluate(`document.getElementById("heard").textContent = ""`, nil), browser.Becomes(`document.getElementById("heard").textContent`),
}

// inPanes logs in at the first node and waits until the other one shows it.
var inPanes = chromedp.Tasks{
	browser.InFrame(0, `document.getElementById("login")?.hidden === false`), browser.InFrame(1, `document.getElementById("login")?.hidden === false`),
	browser.InFrame(0, `document.getElementById("name").value = "Ann", document.querySelector("#login button").click(), true`),
	browser.InFrame(1, `document.getElementById("hello").textContent.includes("Ann") && document.querySelector("[data-add=tea]").click() === undefined`),
	browser.InFrame(0, `document.getElementById("cart").textContent.includes("tea")`),
}

// visit has some visitors go round in the observed shop, and looks at its status meanwhile, so that
// it keeps delays.
func visit(base string) error {
	for range 5 {
		jar, err := cookiejar.New(nil)
		if err != nil {
			return err
		}
		client := &http.Client{Jar: jar, Timeout: 10 * time.Second}
		send := func(method, path, body string) error {
			r, err := http.NewRequest(method, base+path, strings.NewReader(body))
			if err != nil {
				return err
			}
			answer, err := client.Do(r)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, answer.Body)
			return errors.Join(err, answer.Body.Close())
		}
		err = errors.Join(send(http.MethodGet, "/status/", ""), send(http.MethodPost, "/login", `{"name":"Ann"}`))
		for range 40 {
			err = errors.Join(err, send(http.MethodPost, "/cart/tea", ""))
			for range 5 {
				err = errors.Join(err, send(http.MethodGet, "/cart", ""))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// startRedis returns when the server is up.
func startRedis(ctx context.Context) (url string, end func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	at := listener.Addr().String()
	_ = listener.Close()
	_, port, _ := net.SplitHostPort(at)
	cmd := exec.CommandContext(ctx, "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "")
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			return "redis://" + at + "/0", end, conn.Close()
		}
		select {
		case <-ctx.Done():
			end()
			return "", nil, err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// start builds and runs a program, and returns its address.
func start(ctx context.Context, work, dir, program string, args ...string) (base string, end func(), err error) {
	binary, err := os.CreateTemp(work, "program")
	if err != nil {
		return "", nil, err
	}
	_ = binary.Close()
	build := exec.CommandContext(ctx, "go", "build", "-o", binary.Name(), program)
	build.Dir, build.Stderr = dir, os.Stderr
	if err := build.Run(); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, binary.Name(), append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	end = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		end()
		return "", nil, fmt.Errorf("%s said %q: %w", program, line, err)
	}
	_, base, _ = strings.Cut(strings.TrimSpace(line), " on ")
	return base, end, nil
}

// Package browser drives the example shop with Chromium. It is a module of its own, so that
// nobody else depends on what drives the browser. The command screenshots below it makes the
// pictures of README and docs.
package browser

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// pageTimeout is how long a page may take to show what a test waits for.
const pageTimeout = 30 * time.Second

// Chromium returns what starts the browser that is installed, and false where there is none.
func Chromium() ([]chromedp.ExecAllocatorOption, bool) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
		for _, flag := range []string{"disable-background-networking", "disable-component-update", "disable-sync", "no-first-run", "disable-gpu", "disable-quic"} {
			opts = append(opts, chromedp.Flag(flag, true))
		}
		return opts, true
	}
	return nil, false
}

// Becomes waits until an expression holds on the page. It asks anew each time, as the page may be
// another one meanwhile.
func Becomes(expression string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		for end := time.Now().Add(pageTimeout); ; {
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

// InFrame waits until an expression holds in a frame of the page. Frames of another port are in the
// page's process, or are targets of their own.
func InFrame(n int, expression string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		for end := time.Now().Add(pageTimeout); ; {
			tree, err := page.GetFrameTree().Do(ctx)
			if err == nil && len(tree.ChildFrames) > n {
				var world runtime.ExecutionContextID
				if world, err = page.CreateIsolatedWorld(tree.ChildFrames[n].Frame.ID).Do(ctx); err == nil {
					var found *runtime.RemoteObject
					if found, _, err = runtime.Evaluate("!!(" + expression + ")").WithContextID(world).Do(ctx); err == nil && string(found.Value) == "true" {
						return nil
					}
				}
			}
			if time.Now().After(end) {
				return fmt.Errorf("frame %d never has %s (%v)", n, expression, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

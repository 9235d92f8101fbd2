package coalesce_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gf-strata/strata/internal/teststore"
)

// A log-out returns on a disk that is full, as it takes what is dropped. If a change waits behind the log-out, the session's
// record isn't rewritten there: what came before is off the disk all the same.
func TestALogOutOnAFullDisk(t *testing.T) {
	for name, behind := range map[string]bool{"alone": false, "with a change behind it": true} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
				t.Skip("mounting a tmpfs: ", err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(root, syscall.MNT_DETACH) })
			dir, fill := filepath.Join(root, "journal"), filepath.Join(root, "fill")
			s := teststore.New()
			c := journaled(t, s, dir)
			s.Put("a", map[string]any{"k": "0"}, ttl)
			put(t, c, "a", "k", "1")
			must(t, add(ctx, c, "a", "2")) // waits for the change before it, and begins the session if that is gone
			removing, hold := holdNext(s)
			finish := sync.OnceFunc(func() { close(hold) })
			t.Cleanup(finish)
			t.Cleanup(func() { _ = os.Remove(fill) })
			removed := make(chan error, 1)
			go func() { removed <- c.RemoveAll(ctx, "a") }()
			<-removing
			if behind {
				must(t, add(ctx, c, "a", "3"))
			}
			_ = os.WriteFile(fill, make([]byte, 2<<20), 0o600)
			s.Refuse(func(string) error { return errAway })
			if err := add(ctx, c, "b", strings.Repeat("x", 200<<10)); err == nil {
				t.Error("a change that is nowhere was accepted")
			}
			finish()
			if err := <-removed; err != nil {
				t.Fatalf("the log-out returns %v", err)
			}
			if left := recorded(t, dir); strings.Contains(left, `"k":"1"`) || strings.Contains(left, `"k":"2"`) {
				t.Errorf("the journal has %s", left)
			}
		})
	}
}

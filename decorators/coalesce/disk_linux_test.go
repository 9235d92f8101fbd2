package coalesce_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/teststore"
)

// smallDisk makes a disk for a journal. full fills it, and has the journal meet that; the store is away from then on.
func smallDisk(t *testing.T) (dir string, full func(*teststore.Store, *coalesce.Storage)) {
	t.Helper()
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting a tmpfs: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(root, syscall.MNT_DETACH) })
	fill := filepath.Join(root, "fill")
	return filepath.Join(root, "journal"), func(s *teststore.Store, c *coalesce.Storage) {
		t.Helper()
		t.Cleanup(func() { _ = os.Remove(fill) })
		_ = os.WriteFile(fill, make([]byte, 2<<20), 0o600)
		s.Refuse(func(string) error { return errAway })
		impatient, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := add(impatient, c, "b", strings.Repeat("x", 200<<10)); err == nil {
			t.Error("a change that is nowhere was accepted")
		}
	}
}

// A log-out returns on a disk that is full, as it takes what is dropped. If a change waits behind the log-out, the session's
// record isn't rewritten there: what came before is off the disk all the same.
func TestALogOutOnAFullDisk(t *testing.T) {
	for name, behind := range map[string]bool{"alone": false, "with a change behind it": true} {
		t.Run(name, func(t *testing.T) {
			dir, full := smallDisk(t)
			s := teststore.New()
			c := journaled(t, s, dir)
			s.Put("a", map[string]any{"k": "0"}, ttl)
			put(t, c, "a", "k", "1")
			refill(t, c, "a", "l", "2") // waits with the change before it, and begins the session if that is gone
			removing, hold := holdNext(s)
			finish := sync.OnceFunc(func() { close(hold) })
			t.Cleanup(finish)
			removed := make(chan error, 1)
			go func() { removed <- c.RemoveAll(ctx, "a") }()
			<-removing
			if behind {
				must(t, add(ctx, c, "a", "3"))
			}
			full(s, c)
			finish()
			if err := <-removed; err != nil {
				t.Fatalf("the log-out returns %v", err)
			}
			if left := recorded(t, dir); strings.Contains(left, `"k":"1"`) || strings.Contains(left, `"l":"2"`) {
				t.Errorf("the journal has %s", left)
			}
		})
	}
}

// A chain that is closed while a log-out waits behind a change that hangs at the store has the next process deliver the
// accepted changes, on a disk that is full as well: the log-out has failed.
func TestALogOutThatWaitsWhenTheChainIsClosedOnAFullDisk(t *testing.T) {
	for name, also := range map[string]bool{"alone": false, "with changes before and behind it": true} {
		t.Run(name, func(t *testing.T) {
			dir, full := smallDisk(t)
			s := teststore.New()
			c := journaled(t, s, dir)
			s.Put("a", map[string]any{"k": "0"}, ttl)
			writing, hold := holdNext(s)
			finish := sync.OnceFunc(func() { close(hold) })
			t.Cleanup(finish)
			put(t, c, "a", "k", "1")
			over, cancel := context.WithCancel(ctx)
			cancel()
			_ = c.Flush(over) // has it sent
			<-writing
			if also {
				must(t, add(ctx, c, "a", "2"))
			}
			removed := make(chan error, 1)
			go func() { removed <- c.RemoveAll(ctx, "a") }()
			poll.Until(t, "the log-out waits", func() bool { return coalesce.Removes(c, "a") })
			want := []string{`"k":"1"`}
			if also {
				must(t, add(ctx, c, "a", "3"))
				want = append(want, `"k":"3"`)
			}
			full(s, c)
			if err := c.Close(over); err == nil {
				t.Error("Close returns nil")
			}
			if err := <-removed; err == nil {
				t.Error("the log-out returns nil")
			}
			for _, change := range want {
				if left := recorded(t, dir); !strings.Contains(left, change) {
					t.Errorf("the journal has %s without %s", left, change)
				}
			}
		})
	}
}

// disk is that of a journal, which takes nothing at times. mu guards the fields.
type disk struct {
	mu   sync.Mutex
	file int // the descriptor of the journal's file, 0 for none, or for one that stays as it is
	kept int // another one of the file, while it refers to a device that is full; else 0
}

// diskOf finds the disk of a journal that is open. It always takes what comes if it may not refuse.
func diskOf(t *testing.T, dir string, refuses bool) *disk {
	t.Helper()
	if dir == "" || !refuses {
		return &disk{}
	}
	journal, err := os.Stat(filepath.Join(dir, "pending.db"))
	must(t, err)
	open, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, e := range open {
		if to, err := os.Stat("/proc/self/fd/" + e.Name()); err == nil && os.SameFile(to, journal) {
			file, err := strconv.Atoi(e.Name())
			must(t, err)
			return &disk{file: file}
		}
	}
	t.Fatal("the journal's file isn't open")
	return nil
}

func (d *disk) refuse() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == 0 || d.kept != 0 {
		return
	}
	full, err := syscall.Open("/dev/full", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer func() { _ = syscall.Close(full) }()
	if d.kept, err = syscall.Dup(d.file); err != nil || syscall.Dup3(full, d.file, syscall.O_CLOEXEC) != nil {
		panic("a descriptor can't be made")
	}
}

func (d *disk) restore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file != 0 && d.kept != 0 {
		_ = syscall.Dup3(d.kept, d.file, syscall.O_CLOEXEC)
		_, d.kept = syscall.Close(d.kept), 0
	}
}

// stay leaves the disk as it is: the journal is about to close its file.
func (d *disk) stay() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.file = 0
}

// close lets go of the file.
func (d *disk) close() {
	if d.kept != 0 {
		_ = syscall.Close(d.kept)
	}
}

package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gf-strata/strata/decorators/coalesce/journal"
)

// A disk that is full takes no record, and says why; what is dropped is dropped there too,
// and the rest is written when there is room again.
func TestAFullDisk(t *testing.T) {
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting a tmpfs: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(root, syscall.MNT_DETACH) })
	dir := filepath.Join(root, "journal")
	j, _, _ := open(t, dir)
	var entries []uint64
	for n := range 20 {
		entries = append(entries, add(t, j, fmt.Sprint("kept", n)))
	}
	fill := filepath.Join(root, "fill")
	_ = os.WriteFile(fill, make([]byte, 2<<20), 0o600)
	large := strings.Repeat("x", 200<<10)
	var failed *journal.Transaction
	for range 10 {
		failed = j.Put(new(uint64), func() []byte { return []byte(large) })
	}
	err, _ := failed.Wait(ctx)
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Fatalf("a full disk: %v", err)
	}
	for _, entry := range entries[:10] {
		j.Drop(&entry)
	}
	if _, err := j.Next().Wait(ctx); err != nil {
		t.Errorf("nothing can be dropped on a full disk: %v", err)
	}
	if err, _ := j.Next().Wait(ctx); err == nil {
		t.Error("Sync says that all is written")
	}
	if _, found, _ := open(t, copyOf(t, dir)); len(found) != 10 {
		t.Errorf("the file holds %d records, want 10", len(found))
	}
	if err := j.Close(); err == nil {
		t.Error("Close says that all is written")
	}
	if _, _, _, err := journal.Open(filepath.Join(root, "other")); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("opened on a full disk: %v", err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	open(t, filepath.Join(root, "other")) // no half file is in the way
}

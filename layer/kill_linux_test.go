package layer_test

import (
	"path/filepath"
	"syscall"
	"testing"
)

// The same with a disk that fills up now and then.
func TestEveryAcceptedChangeSurvivesAKillAndAFullDisk(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting a tmpfs: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(root, syscall.MNT_DETACH) })
	newKilling(t, filepath.Join(root, "journal"), filepath.Join(root, "fill")).all(16)
}

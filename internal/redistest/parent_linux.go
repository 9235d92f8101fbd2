package redistest

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel end the server with the test binary, which has no
// time to clean up where it panics, times out, or is killed.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

package redistest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// process is a running redis-server. Its fields are set by start; ended is closed
// once the process is gone and has been waited for.
type process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// start runs redis-server in a folder. Its log is a file there, so that no
// goroutine has to read it.
func start(dir string, args ...string) (*process, error) {
	p := &process{
		cmd:   exec.Command("redis-server", args...),
		log:   filepath.Join(dir, "redis.log"),
		ended: make(chan struct{}),
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	dieWithParent(p.cmd)
	started := make(chan error)
	go func() {
		// To Linux the parent is the thread, so that it must live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.ended)
		}
	}()
	return p, <-started
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill returns when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// pause and resume stop and continue the process without closing its connections,
// as a machine that hangs does.
func (p *process) pause()  { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// output is what the process has logged, for the message of a failed start.
func (p *process) output() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

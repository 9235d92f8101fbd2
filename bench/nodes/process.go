package main

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// process is the driver's side of a node. Its fields are set by spawn; one goroutine at
// a time may ask.
type process struct {
	node    int
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	asks    *gob.Encoder
	answers *gob.Decoder
	pipe    *os.File
	log     string
}

// spawn runs a node: a program, or this one again if that is "". Its output goes to a file in dir.
func spawn(program, dir string, config Config) (p *process, err error) {
	if program == "" {
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	p = &process{node: config.Node, cmd: exec.Command(program),
		log: filepath.Join(dir, config.Mode+strconv.Itoa(config.Node)+".log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	answers, child, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = child.Close() }()
	p.cmd.Env = append(os.Environ(), nodeConfig+"="+string(text), fmt.Sprintf("%s=%d", skewEnv, int64(config.Skew/time.Second)))
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = log, log, []*os.File{child}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err = p.cmd.Start(); err != nil {
		return nil, errors.Join(err, answers.Close())
	}
	p.pipe, p.asks, p.answers = answers, gob.NewEncoder(p.stdin), gob.NewDecoder(answers)
	return p, nil
}

// ask sends a command and waits for its answer.
func (p *process) ask(ask Ask) (Answer, error) {
	var answer Answer
	err := p.asks.Encode(ask)
	if err == nil {
		err = p.answers.Decode(&answer)
	}
	if err != nil {
		return answer, fmt.Errorf("node %d is gone at %q: %w\n%s", p.node, ask.What, err, p.tail())
	}
	if answer.Err != "" {
		return answer, fmt.Errorf("node %d, %s: %s\n%s", p.node, ask.What, answer.Err, p.tail())
	}
	return answer, nil
}

// pause and resume stop and continue the node, as a machine that hangs does.
func (p *process) pause()  { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// end has the node close its chain. It ends with its standard input at the latest.
func (p *process) end() error {
	err := p.asks.Encode(Ask{What: askEnd})
	_ = p.stdin.Close()
	return errors.Join(err, p.cmd.Wait(), p.pipe.Close())
}

// kill is for a node that was not ended.
func (p *process) kill() {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_, _ = p.stdin.Close(), p.cmd.Wait()
	_ = p.pipe.Close()
}

// tail is the end of what the node printed.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-2000):]))
}

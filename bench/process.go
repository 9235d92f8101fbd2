package main

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/worker"
)

// process is the bench's side of a worker. Its fields are set by spawn; one goroutine at
// a time may ask.
type process struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	asks    *gob.Encoder
	answers *gob.Decoder
	pipe    *os.File
	log     *os.File // removed already, so that nothing stays behind
}

// spawn runs a program as a worker. It ends with its standard input at the latest.
func spawn(name, program string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(program)}
	var err error
	if p.log, err = os.CreateTemp("", "bench-worker"); err != nil {
		return nil, err
	}
	_ = os.Remove(p.log.Name())
	answers, child, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = child.Close() }()
	p.cmd.Env = append(os.Environ(), worker.Variable+"=1")
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = p.log, p.log, []*os.File{child}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err = p.cmd.Start(); err != nil {
		return nil, errors.Join(err, answers.Close())
	}
	p.pipe, p.asks, p.answers = answers, gob.NewEncoder(p.stdin), gob.NewDecoder(answers)
	return p, nil
}

// ask sends an ask and waits for its answer. A wrong answer to a request is a load.Wrong.
func (p *process) ask(ask worker.Ask) (worker.Answer, error) {
	var answer worker.Answer
	err := p.asks.Encode(ask)
	if err == nil {
		err = p.answers.Decode(&answer)
	}
	switch {
	case err != nil:
		return answer, fmt.Errorf("%s: its process is gone at %q: %w\n%s", p.name, ask.What, err, p.tail())
	case answer.Wrong:
		return answer, load.Wrong(fmt.Sprintf("%s, %s: %s", p.name, ask.What, answer.Err))
	case answer.Err != "":
		return answer, fmt.Errorf("%s, %s: %s", p.name, ask.What, answer.Err)
	}
	return answer, nil
}

// end has the worker end, and waits.
func (p *process) end() {
	_ = p.stdin.Close()
	_ = p.cmd.Wait()
	_, _ = p.pipe.Close(), p.log.Close()
}

// kill has an ask that is under way fail.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

// tail is the end of what the worker printed.
func (p *process) tail() string {
	info, err := p.log.Stat()
	if err != nil {
		return err.Error()
	}
	text := make([]byte, min(info.Size(), 4000))
	n, _ := p.log.ReadAt(text, info.Size()-int64(len(text)))
	return string(bytes.TrimSpace(text[:n]))
}

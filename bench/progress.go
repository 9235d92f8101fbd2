package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress is a bar on a terminal, and a line a workload elsewhere. A nil one is silent.
// It belongs to the goroutine of the bench.
type progress struct {
	out         io.Writer
	terminal    bool
	done, total int
	began       time.Time
	what        string
}

func newProgress(out *os.File) *progress {
	info, err := out.Stat()
	return &progress{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0, began: time.Now()}
}

func (p *progress) begin(total int) {
	if p != nil {
		p.total, p.began = total, time.Now()
	}
}

// step says that n more steps are done.
func (p *progress) step(n int) {
	if p != nil {
		p.done += n
	}
}

// at says what happens now.
func (p *progress) at(what, subject string) {
	switch {
	case p == nil:
	case p.terminal:
		const width = 28
		part := float64(p.done) / float64(max(p.total, 1))
		full := min(width, int(part*width))
		left := ""
		if elapsed := time.Since(p.began); part > 0.02 {
			left = fmt.Sprintf("  %v left", time.Duration(float64(elapsed)*(1-part)/part).Round(time.Second))
		}
		line := fmt.Sprintf("%s%s %3.0f %%%s  %s: %s", strings.Repeat("█", full), strings.Repeat("░", width-full), 100*part, left, what, subject)
		_, _ = fmt.Fprintf(p.out, "\r\x1b[2K%s", line)
	case what != p.what:
		p.say(fmt.Sprintf("%4.0fs  %s", time.Since(p.began).Seconds(), what))
	}
	if p != nil {
		p.what = what
	}
}

// say prints a line.
func (p *progress) say(line string) {
	if p != nil {
		_, _ = fmt.Fprintln(p.out, line)
	}
}

// end removes the bar.
func (p *progress) end() {
	if p != nil && p.terminal {
		_, _ = fmt.Fprint(p.out, "\r\x1b[2K")
	}
}

package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWarningsAreRare(t *testing.T) {
	lines := byDefault(t)
	synctest.Test(t, func(t *testing.T) {
		var l rareLog
		for range 100 {
			l.log(warning{context.Background(), slog.LevelWarn, "rare", "strata: away", []slog.Attr{slog.Int("tries", 1)}})
		}
		l.log(warning{context.Background(), slog.LevelInfo, "another", "strata: something else", nil})
		time.Sleep(logInterval)
		l.log(warning{context.Background(), slog.LevelWarn, "rare", "strata: still away", []slog.Attr{slog.Int("tries", 2)}})
	})
	text := lines.String()
	if n := strings.Count(text, "\n"); n != 3 {
		t.Errorf("%d lines, want three:\n%s", n, text)
	}
	if !strings.Contains(text, "strata: still away tries=2 held_back=99") {
		t.Errorf("what was held back isn't counted:\n%s", text)
	}
}

func TestALoggerTakesTheLog(t *testing.T) {
	var lines bytes.Buffer
	config := Config{Logger: slog.New(slog.NewJSONHandler(&lines, nil))}
	var r Reporter
	r.Move(config.Sink(), nil)
	r.Warn(context.Background(), "cause", "strata: away", slog.Int("tries", 1))
	r.Warn(context.Background(), "cause", "strata: away", slog.Int("tries", 2))
	r.Flush(context.Background())
	if text := lines.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, `"level":"WARN","msg":"strata: away","tries":1`) {
		t.Errorf("logged %s", text)
	}
}

// handled is a log whose lines are handled by a function.
type handled func(slog.Record)

func (h handled) Enabled(context.Context, slog.Level) bool         { return true }
func (h handled) Handle(_ context.Context, line slog.Record) error { h(line); return nil }
func (h handled) WithAttrs([]slog.Attr) slog.Handler               { return h }
func (h handled) WithGroup(string) slog.Handler                    { return h }

// text is a line's message and attributes.
func text(line slog.Record) string {
	all := line.Message
	line.Attrs(func(a slog.Attr) bool { all += " " + a.String(); return true })
	return all
}

// While the log hangs, callers go on, lines wait up to a bound, and those beyond are counted.
func TestALogThatHangsHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, lines := make(chan struct{}), []string(nil)
		var r Reporter
		r.Move(Config{Logger: slog.New(handled(func(line slog.Record) {
			<-release
			lines = append(lines, text(line))
		}))}.Sink(), nil)
		warn := func(n int) { r.Warn(context.Background(), fmt.Sprint(n), fmt.Sprint("strata: line ", n)) }
		warn(0)
		synctest.Wait() // it is being written
		for n := range maxLines + 10 {
			warn(1 + n)
		}
		over, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if r.Flush(over); over.Err() == nil {
			t.Error("a flush has returned before the lines were written, and before its context ended")
		}
		close(release)
		r.Flush(context.Background())
		if len(lines) != 1+maxLines || lines[1] != "strata: line 1 dropped=10" || lines[maxLines] != fmt.Sprint("strata: line ", maxLines) {
			t.Errorf("%d lines, want %d: %q", len(lines), 1+maxLines, lines)
		}
	})
}

// A handler that panics, or ends its goroutine, loses its line alone.
func TestAHandlerThatFailsCostsItsLine(t *testing.T) {
	for name, fail := range map[string]func(){"panics": func() { panic("of the handler") }, "ends its goroutine": runtime.Goexit} {
		var lines []string
		var r Reporter
		r.Move(Config{Logger: slog.New(handled(func(line slog.Record) {
			if line.Message == "strata: bad" {
				fail()
			}
			lines = append(lines, text(line))
		}))}.Sink(), nil)
		r.Warn(context.Background(), "", "strata: bad")
		r.Warn(context.Background(), "", "strata: good")
		r.Flush(context.Background())
		if len(lines) != 1 || lines[0] != "strata: good dropped=1" {
			t.Errorf("%s: logged %q", name, lines)
		}
	}
}

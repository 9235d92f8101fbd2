package telemetry

import (
	"bytes"
	"context"
	"log/slog"
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
			l.warn(context.Background(), "rare", "strata: away", slog.Int("tries", 1))
		}
		l.warn(context.Background(), "another", "strata: something else")
		time.Sleep(logInterval)
		l.warn(context.Background(), "rare", "strata: still away", slog.Int("tries", 2))
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
	if text := lines.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, `"level":"WARN","msg":"strata: away","tries":1`) {
		t.Errorf("logged %s", text)
	}
}

package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/glog"
)

// written is a sink that logs into a buffer.
func written() (*Sink, *bytes.Buffer) {
	var lines bytes.Buffer
	return Config{Logger: slog.New(slog.NewTextHandler(&lines, nil))}.Sink(), &lines
}

// byDefault has GoFrame's default log written into a buffer for the time of the test.
func byDefault(t *testing.T) *bytes.Buffer {
	var lines bytes.Buffer
	log := glog.Instance()
	before := log.GetWriter()
	log.SetWriter(&lines)
	log.SetStdoutPrint(false)
	t.Cleanup(func() { log.SetWriter(before); log.SetStdoutPrint(true) })
	return &lines
}

func TestEarlyWarningsWaitForTheSink(t *testing.T) {
	fallback := byDefault(t)
	synctest.Test(t, func(t *testing.T) {
		var r Reporter
		for n := range 2 * maxEarly {
			r.Warn(context.Background(), fmt.Sprint(n), "strata: early", slog.Int("n", n))
		}
		sink, lines := written()
		r.Move(sink, nil)
		synctest.Wait()
		if n := strings.Count(lines.String(), "strata: early"); n != maxEarly || !strings.Contains(lines.String(), "n=0\n") {
			t.Errorf("%d lines, want the first %d", n, maxEarly)
		}
		lines.Reset()
		r.Warn(context.Background(), "later", "strata: later")
		synctest.Wait()
		if !strings.Contains(lines.String(), "strata: later") {
			t.Error("what comes later isn't logged at once")
		}
	})
	if fallback.Len() > 0 {
		t.Errorf("GoFrame's log has %s", fallback)
	}
}

// A layer without a chain logs in the end, and at once from then on; one that is closed
// before does then.
func TestALayerWithoutAChainLogsAfterAWhile(t *testing.T) {
	for name, end := range map[string]func(*Reporter, Reporting){
		"left alone": func(*Reporter, Reporting) { synctest.Wait() },
		"closed":     func(r *Reporter, l Reporting) { r.Stop(l) },
	} {
		lines := byDefault(t)
		cause := fmt.Sprintf("%s %p", name, lines) // a new one, as the default log is rare for all tests
		synctest.Test(t, func(t *testing.T) {
			var r Reporter
			r.Warn(context.Background(), cause, "strata: early")
			if name == "left alone" {
				time.Sleep(earlyDelay)
			}
			end(&r, &counting{})
			r.Warn(context.Background(), cause+" later", "strata: later")
		})
		if text := lines.String(); strings.Count(text, "strata: early") != 1 || strings.Count(text, "strata: later") != 1 {
			t.Errorf("%s: logged %q", name, text)
		}
	}
}

package status

import (
	"strings"
	"testing"

	"github.com/gf-strata/strata/telemetry"
)

func TestAHistogramSaysWhatItShows(t *testing.T) {
	d := telemetry.Delay{Metric: "strata.store.operation.duration", Series: "Load", Bounds: []float64{0.001, 0.01, 0.1}}
	for _, c := range []struct {
		counts     []int64
		bars       int
		says, last string
	}{
		{[]int64{0, 0, 0, 0}, 0, "none yet", ""},
		{[]int64{98, 0, 2, 0}, 2, "100; half within 1ms, 99 % within 100ms", "≤ 100ms"},
		{[]int64{0, 0, 0, 1234}, 1, "1,234; half in more than 100ms, 99 % in more than 100ms", "> 100ms"},
		{[]int64{1, 0, 0, 1}, 2, "2; half within 1ms, 99 % in more than 100ms", "> 100ms"},
	} {
		d.Counts = c.counts
		h := plotted(d)
		last := ""
		if len(h.Ticks) > 0 {
			last = h.Ticks[len(h.Ticks)-1].Text
		}
		if len(h.Bars) != c.bars || h.Says != c.says || last != c.last || !strings.HasSuffix(h.Title, "store: Load") {
			t.Errorf("%v: %+v", c.counts, h)
		}
		for _, b := range h.Bars {
			if strings.Contains(b.X+b.Y+b.W+b.H, "-") {
				t.Errorf("%v: a bar outside: %+v", c.counts, b)
			}
		}
	}
}

func TestValuesHaveTheirUnits(t *testing.T) {
	for metric, want := range map[string]string{"strata.local.memory.usage": "1.5 MiB", "strata.coalesce.pending.age": "436h54m24s", "strata.slides": "1,572,864"} {
		if got := value(telemetry.Reading{Metric: metric, Value: 1.5 * (1 << 20)}); got != want {
			t.Errorf("%s is %s, want %s", metric, got, want)
		}
	}
}

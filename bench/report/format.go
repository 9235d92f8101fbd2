package report

import (
	"fmt"
	"math"
	"time"

	"github.com/gf-strata/strata/bench/stats"
)

// Format is a metric's value with its unit, in three digits.
func (m Metric) Format(v float64) string {
	switch m.Key {
	case "perSecond":
		return count(v)
	case "p50", "p99", "p999", "cpu", "redisCPU":
		return seconds(v)
	case "hits":
		return fmt.Sprintf("%.1f %%", 100*v)
	case "bytes", "redisBytes":
		return size(v)
	}
	return digits(v)
}

// figure is that of an entry, or a dash where it has none.
func (m Metric) figure(e Entry) string {
	f, ok := e.Figures[m.Key]
	if !ok {
		return "–"
	}
	return m.Format(f.Median)
}

// is says what Strata is beside an entry: a ratio, and in which direction.
func (m Metric) is(e Entry) string {
	ratio, ok := e.Ratios[m.Key]
	if !ok || m.Key == "hits" || ratio.High == 0 {
		return ""
	}
	return m.against(ratio.Median)
}

// against is a ratio in words: 0.01x is 100x lower, or slower of requests/s.
func (m Metric) against(ratio float64) string {
	if m.Key == "perSecond" {
		return inWords(ratio, "slower", "faster")
	}
	return inWords(ratio, "lower", "higher")
}

func inWords(ratio float64, less, more string) string {
	switch {
	case ratio == 0:
		return ""
	case ratio < 1:
		return times(1/ratio) + " " + less
	}
	return times(ratio) + " " + more
}
func digits(v float64) string {
	switch {
	case v == 0:
		return "0"
	case math.Abs(v) < 0.0005:
		return "<0.001"
	case math.Abs(v) < 1:
		return fmt.Sprintf("%.3f", v)
	case math.Abs(v) < 10:
		return fmt.Sprintf("%.2f", v)
	case math.Abs(v) < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func count(v float64) string {
	switch {
	case v >= 1e6:
		return digits(v/1e6) + " M"
	case v >= 1e4:
		return digits(v/1e3) + " k"
	}
	return fmt.Sprintf("%.0f", v)
}

func size(v float64) string {
	if v >= 10<<10 {
		return digits(v/(1<<10)) + " KiB"
	}
	return fmt.Sprintf("%.0f B", v)
}

func seconds(v float64) string {
	switch d := time.Duration(v * 1e9); {
	case v == 0:
		return "0"
	case d < time.Microsecond:
		return fmt.Sprintf("%.0f ns", v*1e9)
	case d < time.Millisecond:
		return digits(v*1e6) + " µs"
	case d < time.Second:
		return digits(v*1e3) + " ms"
	}
	return digits(v) + " s"
}

// times is a ratio, such as 12.3x.
func times(v float64) string { return digits(v) + "x" }

// spread is the lowest and the highest round, in per cent of the median.
func spread(f stats.Figure) string {
	if f.Median == 0 {
		return ""
	}
	return fmt.Sprintf("−%.0f/+%.0f %%", 100*(1-f.Low/f.Median), 100*(f.High/f.Median-1))
}

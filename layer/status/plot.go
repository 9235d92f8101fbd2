package status

import (
	"fmt"
	"strings"
	"time"

	"github.com/gf-strata/strata/telemetry"
)

// histogram is a delay as the page draws it, in a picture of 240 by 72.
type histogram struct {
	Title, Says string
	Bars        []bar
	Ticks       []tick
}

type bar struct{ X, Y, W, H string }

type tick struct{ X, Anchor, Text string }

const (
	plotWidth  = 240.0
	plotHeight = 56.0
)

// plotted draws a bar for each bucket from the first that holds something to the last.
func plotted(d telemetry.Delay) histogram {
	h := histogram{Title: titles[d.Metric]}
	if h.Title == "" {
		h.Title = d.Metric
	}
	if d.Series != "" {
		h.Title += ": " + d.Series
	}
	first, last, most, total := len(d.Counts), 0, int64(1), int64(0)
	for n, count := range d.Counts {
		if count > 0 {
			first, last = min(first, n), n
		}
		most, total = max(most, count), total+count
	}
	if total == 0 {
		h.Says = "none yet"
		return h
	}
	h.Says = fmt.Sprintf("%s; half %s, 99 %% %s", count(float64(total)), within(d, total, 0.5), within(d, total, 0.99))
	step := min(plotWidth/float64(last-first+1), plotWidth/4)
	for n := first; n <= last; n++ {
		if d.Counts[n] > 0 {
			tall := max(1.5, plotHeight*float64(d.Counts[n])/float64(most))
			h.Bars = append(h.Bars, bar{decimal(float64(n-first)*step + 1), decimal(plotHeight - tall), decimal(step - 2), decimal(tall)})
		}
	}
	h.Ticks = []tick{{"0", "start", bucket(d, first)}}
	if last > first {
		h.Ticks = append(h.Ticks, tick{decimal(max(float64(last-first+1)*step, plotWidth/2)), "end", bucket(d, last)})
	}
	return h
}

var titles = map[string]string{
	"strata.store.operation.duration": "store",
	"strata.invalidation.delay":       "invalidations, after the write",
	"strata.audit.age":                "audits that differed, age in memory",
}

// within says in which bound a part of all is.
func within(d telemetry.Delay, total int64, part float64) string {
	sum := int64(0)
	for n, count := range d.Counts {
		if sum += count; float64(sum) >= part*float64(total) {
			return strings.NewReplacer("≤", "within", ">", "in more than").Replace(bucket(d, n))
		}
	}
	return ""
}

// bucket says what a bucket counts.
func bucket(d telemetry.Delay, n int) string {
	sign := "≤ "
	if n == len(d.Bounds) {
		sign, n = "> ", n-1
	}
	return sign + time.Duration(d.Bounds[n]*float64(time.Second)).Round(time.Microsecond).String()
}

func decimal(v float64) string { return fmt.Sprintf("%.1f", v) }

// value shows a reading in its unit.
func value(r telemetry.Reading) string {
	switch {
	case strings.Contains(r.Metric, ".memory"):
		return size(r.Value)
	case strings.HasSuffix(r.Metric, ".age"):
		return time.Duration(r.Value * float64(time.Second)).Round(time.Millisecond).String()
	}
	return count(r.Value)
}

func size(bytes float64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%.1f KiB", bytes/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", bytes/(1<<20))
}

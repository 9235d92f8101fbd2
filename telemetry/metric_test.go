package telemetry

import (
	"bufio"
	"context"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// counting is a layer that reports all there is.
type counting struct {
	tally Tally
	state float64
}

func (c *counting) Tally() *Tally { return &c.tally }

func (c *counting) Gauges(set func(Gauge, float64)) {
	for g := range numGauges {
		set(g, c.state)
	}
}

func collected(t *testing.T, reader *metric.ManualReader) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != Scope {
			t.Errorf("scope %s", scope.Scope.Name)
		}
		for _, m := range scope.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

// row is a metric as the table of the package has it.
func row(t *testing.T, m metricdata.Metrics) string {
	t.Helper()
	kind, values, keys := "", map[string][]string{}, []string{}
	take := func(points []metricdata.DataPoint[int64]) {
		for _, p := range points {
			for _, kv := range p.Attributes.ToSlice() {
				values[string(kv.Key)] = append(values[string(kv.Key)], kv.Value.Emit())
			}
		}
	}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		if kind = "counter"; !data.IsMonotonic {
			kind = "updowncounter"
		}
		take(data.DataPoints)
	case metricdata.Gauge[float64]:
		kind = "gauge"
	case metricdata.Histogram[float64]:
		kind = "histogram"
		for _, p := range data.DataPoints {
			for _, key := range []string{"strata.operation", "strata.storage", "error.type"} {
				if p.Attributes.HasValue(OperationKey) && !slices.Contains(keys, key) {
					keys = append(keys, key)
				}
			}
			if p.Attributes.Len() != len(keys) {
				t.Errorf("%s has the attributes %v", m.Name, p.Attributes.ToSlice())
			}
		}
	}
	for key, all := range values {
		slices.Sort(all)
		keys = append(keys, key+"="+strings.Join(all, "|"))
	}
	if m.Description == "" {
		t.Errorf("%s isn't described", m.Name)
	}
	return strings.Join(append([]string{m.Name, kind, m.Unit}, keys...), " ")
}

// bounds are a histogram's buckets as the table of the package has them.
func bounds(name string, seconds []float64) string {
	fields := []string{name}
	for _, s := range seconds {
		bound := time.Duration(math.Round(s * 1e9)).String()
		fields = append(fields, strings.NewReplacer("m0s", "m", "h0m0s", "h").Replace(bound))
	}
	return strings.Join(fields, " ")
}

// The tables in the package's documentation are what is exported.
func TestTheTablesListAllThatIsExported(t *testing.T) {
	reader := metric.NewManualReader()
	config := Config{Metering: metric.NewMeterProvider(metric.WithReader(reader))}
	var r Reporter
	layer := &counting{}
	r.Move(config.Sink(), nil)
	r.Start(layer)
	r.Delayed(time.Millisecond)
	r.Differed(time.Millisecond)
	store := NewStore(layer)
	store.Report(config.Sink())
	store.End(context.Background(), store.Begin(), Load, "*net.OpError")

	var exported, documented []string
	for _, m := range collected(t, reader) {
		exported = append(exported, row(t, m))
		if h, ok := m.Data.(metricdata.Histogram[float64]); ok {
			exported = append(exported, bounds(m.Name, h.DataPoints[0].Bounds))
		}
	}
	file, err := os.Open("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if line, ok := strings.CutPrefix(lines.Text(), "//\tstrata."); ok {
			fields := strings.Fields("strata." + line)
			_, err := time.ParseDuration(fields[1])
			if err == nil || slices.Contains([]string{"counter", "updowncounter", "gauge", "histogram"}, fields[1]) {
				documented = append(documented, strings.Join(fields, " "))
			}
		}
	}
	slices.Sort(exported)
	slices.Sort(documented)
	if len(documented) < 20 || !slices.Equal(exported, documented) {
		t.Errorf("exported:\n%s\n\ndocumented:\n%s", strings.Join(exported, "\n"), strings.Join(documented, "\n"))
	}
}

func counted(t *testing.T, m metricdata.Metrics) (n int64) {
	t.Helper()
	sum, ok := m.Data.(metricdata.Sum[int64])
	if !ok {
		t.Fatalf("%s is %T", m.Name, m.Data)
	}
	for _, p := range sum.DataPoints {
		n += p.Value
	}
	return n
}

// The counts of layers add up, also when some are closed or given another sink later.
func TestCountsAddUpAndNeverGoBack(t *testing.T) {
	reader := metric.NewManualReader()
	config := Config{Metering: metric.NewMeterProvider(metric.WithReader(reader))}
	var r [2]Reporter
	layers := [2]*counting{{state: 1}, {state: 2}}
	for n := range layers {
		r[n].Start(layers[n])
		layers[n].tally.Add(Loads) // before it knows where to report
		r[n].Move(config.Sink(), layers[n])
		for stripe := range uint64(20) {
			layers[n].tally.AddAt(Loads, stripe)
		}
		layers[n].tally.AddN(Loads, 9)
	}
	for closed := range 3 {
		found := collected(t, reader)
		if n := counted(t, found["strata.local.loads"]); n != 60 {
			t.Errorf("%d closed: %d loads, want 60", closed, n)
		}
		if closed < 2 {
			r[closed].Stop(layers[closed])
			r[closed].Stop(layers[closed])
		}
	}
}

// Sizes add up, ages are the longest, and one chain that receives nothing is enough to worry.
func TestStatesOfLayersBecomeOne(t *testing.T) {
	reader := metric.NewManualReader()
	config := Config{Metering: metric.NewMeterProvider(metric.WithReader(reader))}
	for _, state := range []float64{1, 0, 3} {
		var r Reporter
		r.Move(config.Sink(), nil)
		r.Start(&counting{state: state})
	}
	found := collected(t, reader)
	if sum := counted(t, found["strata.local.sessions"]); sum != 4 {
		t.Errorf("%v sessions", sum)
	}
	for name, want := range map[string]float64{"strata.coalesce.pending.age": 3, "strata.watch.connected": 0, "strata.watch.unsupported": 3} {
		if got := state(t, found[name]); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func TestOnlyTheStoreOfTheChainIsMeasured(t *testing.T) {
	var none *Store
	none.Report(standard)
	if began := none.Begin(); !began.IsZero() {
		t.Error("the clock was read")
	}
	none.End(context.Background(), time.Now(), Load, "")
}

func BenchmarkTally(b *testing.B) {
	var tally Tally
	b.RunParallel(func(pb *testing.PB) {
		var stripe uint64
		for pb.Next() {
			stripe++
			tally.AddAt(ReadHit, stripe)
		}
	})
}

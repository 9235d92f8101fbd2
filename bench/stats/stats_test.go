package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestQuantilesAreRightWithinABucket(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var one, two Histogram
	var all []time.Duration
	for n := range 20_000 {
		d := time.Duration(math.Exp(random.Float64() * 20)) // 1 ns to 0.5 s
		all = append(all, d)
		if n%2 == 0 {
			one.Add(d)
		} else {
			two.Add(d)
		}
	}
	one.Merge(two)
	slices.Sort(all)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[min(int(q*float64(len(all))), len(all)-1)]
		got := one.Quantile(q)
		if off := math.Abs(float64(got-want)) / float64(max(want, 1)); off > 1.0/sub {
			t.Errorf("Quantile(%v) = %v, want %v", q, got, want)
		}
	}
}

func TestBucketsAreOrderedAndMeetTheirMiddle(t *testing.T) {
	last := -1
	for v := uint64(0); v < 1<<20; v++ {
		n := bucket(v)
		if n < last || n > last+1 {
			t.Fatalf("bucket(%d) = %d after %d", v, n, last)
		}
		last = n
		if bucket(middle(n)) != n {
			t.Fatalf("the middle of bucket %d lies in %d", n, bucket(middle(n)))
		}
	}
}

func TestAnEmptyHistogramHasNoQuantile(t *testing.T) {
	var h Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("Quantile = %v, want 0", got)
	}
}

func TestFigures(t *testing.T) {
	for _, tt := range []struct {
		rounds []float64
		want   Figure
	}{
		{nil, Figure{}},
		{[]float64{3}, Figure{3, 3, 3}},
		{[]float64{9, 1, 2}, Figure{2, 1, 9}},
		{[]float64{4, 1, 2, 3}, Figure{2.5, 1, 4}},
		{[]float64{math.NaN(), 1, math.Inf(1)}, Figure{1, 1, 1}},
	} {
		if got := Of(tt.rounds); got != tt.want {
			t.Errorf("Of(%v) = %v, want %v", tt.rounds, got, tt.want)
		}
	}
	// The machine was twice as slow in the second round, and the ratio isn't.
	if got, want := Ratio([]float64{10, 5, 10}, []float64{5, 2.5, 4}), (Figure{2, 2, 2.5}); got != want {
		t.Errorf("Ratio = %v, want %v", got, want)
	}
}

func TestRounded(t *testing.T) {
	for v, want := range map[float64]float64{0: 0, 123456: 123460, 1.0000049: 1, 0.000012345678: 0.000012346, -2.99999: -3} {
		if got := Rounded(v); got != want {
			t.Errorf("Rounded(%v) = %v, want %v", v, got, want)
		}
	}
}

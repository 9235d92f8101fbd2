package stats

import (
	"math"
	"slices"
	"strconv"
)

// Figure is a measured value over rounds: its median, and the lowest and highest round.
type Figure struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// Of is the figure of one value a round; rounds without a number are left out.
func Of(rounds []float64) Figure {
	sorted := slices.DeleteFunc(slices.Clone(rounds), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	if len(sorted) == 0 {
		return Figure{}
	}
	slices.Sort(sorted)
	n := len(sorted)
	return Figure{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Low: sorted[0], High: sorted[n-1]}
}

// Ratio is the figure of a[i]/b[i], of rounds that were each other's neighbours: what the
// machine did meanwhile is in both.
func Ratio(a, b []float64) Figure {
	ratios := make([]float64, 0, min(len(a), len(b)))
	for n := range min(len(a), len(b)) {
		ratios = append(ratios, a[n]/b[n])
	}
	return Of(ratios)
}

// Rounded is v in five digits: more would only be noise in the files.
func Rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-4)
	r, _ := strconv.ParseFloat(strconv.FormatFloat(math.Round(v/unit)*unit, 'g', 6, 64), 64)
	return r
}

// Rounded is the figure in five digits.
func (f Figure) Rounded() Figure {
	return Figure{Median: Rounded(f.Median), Low: Rounded(f.Low), High: Rounded(f.High)}
}

package telemetry

// Reading is one series of a layer at one moment: a count since the layer was made, or a state.
type Reading struct {
	Metric string  `json:"metric"`           // as in the table of the package
	Series string  `json:"series,omitempty"` // the value of its attribute, such as "hit"
	Value  float64 `json:"value"`
	State  bool    `json:"state,omitempty"` // may fall
}

// Readings are all series of a layer that it has ever counted, and its states.
func Readings(l Reporting) (all []Reading) {
	for c := range numCounts {
		if n := l.Tally().Total(c); n != 0 {
			reading := Reading{Metric: allSeries[c].metric, Value: float64(n)}
			for _, attribute := range allSeries[c].attributes.ToSlice() {
				reading.Series = attribute.Value.AsString()
			}
			all = append(all, reading)
		}
	}
	l.Gauges(func(g Gauge, value float64) {
		all = append(all, Reading{Metric: gauges[g].metric, Value: value, State: true})
	})
	return all
}

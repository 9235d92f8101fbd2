package load

import "math"

// Law is how often sessions are visited. It is an alias table: a visit costs one random
// number and one look, the same for every subject, so that each round draws its own.
type Law struct {
	keep, other []uint32
}

// Zipf is the law with an exponent of 1.01, the first session the most often.
func Zipf(sessions int) *Law {
	const exponent = 1.01
	parts, total := make([]float64, sessions), 0.0
	for n := range parts {
		parts[n] = math.Pow(float64(n+1), -exponent)
		total += parts[n]
	}
	l := &Law{keep: make([]uint32, sessions), other: make([]uint32, sessions)}
	var poor, rich []uint32
	for n := range parts {
		if parts[n] *= float64(sessions) / total; parts[n] < 1 {
			poor = append(poor, uint32(n))
		} else {
			rich = append(rich, uint32(n))
		}
	}
	for len(poor) > 0 && len(rich) > 0 {
		small, large := poor[len(poor)-1], rich[len(rich)-1]
		poor = poor[:len(poor)-1]
		l.keep[small], l.other[small] = uint32(parts[small]*math.MaxUint32), large
		if parts[large] -= 1 - parts[small]; parts[large] < 1 {
			rich, poor = rich[:len(rich)-1], append(poor, large)
		}
	}
	for _, n := range append(poor, rich...) { // what rounding leaves over
		l.keep[n], l.other[n] = math.MaxUint32, n
	}
	return l
}

// Pick is the session that a random number stands for.
func (l *Law) Pick(random uint64) int {
	n := (random >> 32) * uint64(len(l.keep)) >> 32
	if uint32(random) <= l.keep[n] {
		return int(n)
	}
	return int(l.other[n])
}

package load

import (
	"math/rand/v2"
)

// Picks is a table of sessions to visit: by turns, or by Zipf's law with exponent 1.01,
// the first session the most often. The same for every subject.
func Picks(sessions int, zipf bool, n int) []uint32 {
	picks := make([]uint32, n)
	if !zipf {
		for i := range picks {
			picks[i] = uint32(i % sessions)
		}
		return picks
	}
	law := rand.NewZipf(rand.New(rand.NewPCG(1, 101)), 1.01, 1, uint64(sessions-1))
	for i := range picks {
		picks[i] = uint32(law.Uint64())
	}
	return picks
}

package load

import "sync/atomic"

// slot knows the writes of one key of one session. begun numbers them; ended counts
// those that have returned; floor is a write that overlapped with none, after which
// no read may return an earlier one.
type slot struct {
	begun, ended, floor atomic.Uint64
}

// begin numbers a write. alone reports that no earlier one is under way.
func (s *slot) begin() (n uint64, alone bool) {
	n = s.begun.Add(1)
	return n, s.ended.Load() == n-1
}

// end says that a write has returned.
func (s *slot) end(n uint64, alone bool) {
	s.ended.Add(1)
	if alone && s.begun.Load() == n {
		s.floor.Store(n)
	}
}

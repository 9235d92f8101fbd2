package local

// Held is a read that is held up after it has asked what the sources say: what it would do
// when it goes on.
func (s *Storage) Held(id string, meanwhile func()) (hit, none, joins bool) {
	hash := s.guard.Hash(id)
	said := s.watch.vouch()
	e := s.lookup(hash)
	flying := s.guard.Stamp(hash)
	meanwhile()
	v := s.under(said, hash)
	hit = e != nil && e.current(id, v)
	n := s.negatives.find(hash)
	none = n != nil && n.stamp == v.stamp && v.serves(n)
	return hit, none, v.stamp == flying && s.joinable(v) < v.now-int64(overlapWindow)
}

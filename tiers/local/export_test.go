package local

// Held is a read that is held up after it has asked what the sources say: what it would do
// when it goes on.
func (s *Storage) Held(id string, meanwhile func()) (hit, none, joins bool) {
	hash := s.memory.guard.Hash(id)
	said := s.watch.vouch()
	e := s.memory.lookup(hash)
	flying := s.memory.guard.Stamp(hash)
	meanwhile()
	v := s.memory.under(said, hash)
	hit = e != nil && e.current(id, v)
	n := s.memory.absences.find(hash)
	none = n != nil && n.stamp == v.stamp && v.serves(n)
	return hit, none, v.stamp == flying && s.memory.joinable(v) < v.now-int64(overlapWindow)
}

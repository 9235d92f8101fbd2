package local

// view is what a read goes by. A source outdates what is kept before it vouches anew, so
// that whoever has seen its new word must compare with a stamp that was read later: the
// vouch comes first, by construction.
type view struct {
	vouch
	stamp uint64 // the guard's, of the id; held if something is kept under it
	now   int64  // read last
}

// vouch is what the sources say of all that is kept.
type vouch struct {
	watched bool  // they can announce changes
	until   int64 // and have vouched until then
}

// look answers what was kept last under the hash, nil for nothing, and the view by which
// it may be served or not.
func (s *Storage) look(hash uint64) (*entry, view) {
	said := s.watch.vouch()
	e := s.lookup(hash)
	return e, s.under(said, hash)
}

// under completes a view. The stamp is read after the lookup as well: what that found
// can't be newer.
func (s *Storage) under(said vouch, hash uint64) view {
	stamp := s.guard.Stamp(hash)
	return view{vouch: said, stamp: stamp, now: s.now()}
}

// vouch is the sources' word.
func (w *watch) vouch() vouch { return vouch{watched: w.watched.Load(), until: w.until.Load()} }

// vouches reports whether the entry may be served, as far as the sources go.
func (v view) vouches(e *entry) bool { return !e.watched || v.now < v.until }

// serves reports whether an entry that is current is served.
func (v view) serves(e *entry) bool {
	return v.now < e.until && v.vouches(e) && e.echo.trusted(v.now)
}

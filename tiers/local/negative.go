package local

import "sync/atomic"

const negativeSlots = 4096

// negatives remember ids without a session, apart from the cache, so that a flood of
// made-up ids pushes no session out. An id that shares a slot replaces the other. Ids
// are known by their 64-bit hashes under a random seed, as they may be long.
// Each slot is an atomic pointer to an entry that doesn't change.
type negatives [negativeSlots]atomic.Pointer[entry]

// slot takes the hash's upper bits; the guard takes the lower ones.
func (n *negatives) slot(hash uint64) *atomic.Pointer[entry] {
	return &n[hash>>32%negativeSlots]
}

func (n *negatives) put(e *entry) { n.slot(e.hash).Store(e) }

// find is what was put under the hash.
func (n *negatives) find(hash uint64) *entry {
	if e := n.slot(hash).Load(); e != nil && e.hash == hash {
		return e
	}
	return nil
}

package main

import (
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Slots are the users: which session id each of them has at the moment. They stand in a
// file that all nodes map, as a cookie goes with the user to every node. The node that logs a
// user out, or in again, holds its slot meanwhile, so that a user logs in at one node at
// a time; other requests go on with the id that the user had.
//
// Each is a generation times two, and one more while it is held. They are atomics.
type Slots struct{ words []uint64 }

// openSlots maps a file of n slots, which it makes where there is none.
func openSlots(path string, n int) (*Slots, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if err = file.Truncate(int64(n) * 8); err != nil {
		return nil, err
	}
	bytes, err := syscall.Mmap(int(file.Fd()), 0, n*8, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &Slots{unsafe.Slice((*uint64)(unsafe.Pointer(&bytes[0])), n)}, nil
}

// Generation is which of its ids the user has.
func (s *Slots) Generation(slot int) uint64 { return atomic.LoadUint64(&s.words[slot]) / 2 }

// Hold takes the slot of a user who is in the given generation.
func (s *Slots) Hold(slot int, generation uint64) bool {
	return atomic.CompareAndSwapUint64(&s.words[slot], generation*2, generation*2+1)
}

// Release gives the slot back, in whatever generation the user is now.
func (s *Slots) Release(slot int, generation uint64) {
	atomic.StoreUint64(&s.words[slot], generation*2)
}

package tracking

import (
	"strconv"
	"strings"
)

// canaryTries bounds the search for a key of some slot.
const canaryTries = 1 << 17

// slotOf is the hash slot of a key in a cluster, as its specification has it: the CRC16
// of the key, or of its first {tag} alone.
func slotOf(key string) int {
	var crc uint16
	tag := tagOf(key)
	for n := range len(tag) {
		crc ^= uint16(tag[n]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % 16384)
}

// tagOf is the part of a key that is hashed.
func tagOf(key string) string {
	if _, rest, open := strings.Cut(key, "{"); open {
		if tag, _, closed := strings.Cut(rest, "}"); closed && tag != "" {
			return tag
		}
	}
	return key
}

// keyIn is a key with some beginning in a slot that is wanted, "" if none is found.
func keyIn(start string, wanted func(slot int) bool) string {
	tries := canaryTries
	if tagOf(start) != start {
		tries = 1 // all keys are in one slot
	}
	for n := range tries {
		if key := start + strconv.Itoa(n); wanted(slotOf(key)) {
			return key
		}
	}
	return ""
}

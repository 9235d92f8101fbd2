package tracking

import "strings"

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

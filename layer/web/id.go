package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"
	"time"
)

// Ids that may be asked for: those of a chain's New, those of GoFrame, and what programs make themselves
// of these characters. Nothing among them leads out of a folder or names a key with a colon.
const shortestID, longestID = 16, 128

func wellFormed(id string) bool {
	if len(id) < shortestID || len(id) > longestID {
		return false
	}
	for n := range len(id) {
		switch c := id[n]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// A signed id is, in base64, when the session began (milliseconds, 6 bytes), its own absolute
// limit (seconds rounded up, 4 bytes, 0 for the middleware's), 16 random bytes, and the first 16
// bytes of their HMAC-SHA256.
const (
	payloadLength = 6 + 4 + 16
	macLength     = 16
	signedLength  = (payloadLength + macLength) * 4 / 3
)

// signer makes and checks signed ids. Its keys are set at construction; the first signs. A pool of a
// key's hashes guards itself.
type signer struct{ keys []*signing }

type signing struct {
	length int
	hashes sync.Pool
}

func (s *signer) add(key []byte) {
	key = append([]byte(nil), key...)
	s.keys = append(s.keys, &signing{length: len(key), hashes: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}})
}

// mac is the HMAC of an id's payload, of which an id has the beginning.
func (k *signing) mac(payload []byte) (sum [sha256.Size]byte) {
	h := k.hashes.Get().(hash.Hash)
	h.Reset()
	h.Write([]byte("strata.web.id\x00"))
	h.Write(payload)
	h.Sum(sum[:0])
	k.hashes.Put(h)
	return sum
}

func (s *signer) newID(began time.Time, absolute time.Duration) string {
	var b [payloadLength + macLength]byte
	var moment [8]byte
	binary.BigEndian.PutUint64(moment[:], uint64(began.UnixMilli()))
	copy(b[:6], moment[2:])
	seconds := min((absolute+time.Second-1)/time.Second, 1<<32-1)
	binary.BigEndian.PutUint32(b[6:10], uint32(seconds))
	_, _ = rand.Read(b[10:payloadLength])
	sum := s.keys[0].mac(b[:payloadLength])
	copy(b[payloadLength:], sum[:macLength])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// read returns what a signed id says, and whether one of the keys has signed it.
func (s *signer) read(id string) (claimed record, ok bool) {
	var b [payloadLength + macLength]byte
	if len(id) != signedLength {
		return claimed, false
	}
	if n, err := strictBase64.Decode(b[:], []byte(id)); err != nil || n != len(b) {
		return claimed, false
	}
	for _, key := range s.keys {
		if sum := key.mac(b[:payloadLength]); hmac.Equal(sum[:macLength], b[payloadLength:]) {
			var moment [8]byte
			copy(moment[2:], b[:6])
			claimed.began = int64(binary.BigEndian.Uint64(moment[:]))
			claimed.absolute = int64(binary.BigEndian.Uint32(b[6:10])) * 1000
			return claimed, true
		}
	}
	return claimed, false
}

var strictBase64 = base64.RawURLEncoding.Strict()

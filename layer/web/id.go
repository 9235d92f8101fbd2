package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/gf-strata/strata/internal/sessionmap"
)

// NewID returns a session id that nobody can guess: 128 bits from crypto/rand, as 22 characters
// that are safe in URLs, headers, cookies and file names. New of every chain makes the same.
func NewID() string { return sessionmap.NewID() }

// Ids that may be asked for: those of NewID, those of GoFrame, and what programs make themselves
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

// signer makes and checks signed ids. Its keys are set at construction; the first signs.
type signer struct{ keys [][]byte }

func (s *signer) mac(key, payload []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("strata.web.id\x00"))
	h.Write(payload)
	return h.Sum(nil)[:macLength]
}

func (s *signer) newID(began time.Time, absolute time.Duration) string {
	var b [payloadLength + macLength]byte
	var moment [8]byte
	binary.BigEndian.PutUint64(moment[:], uint64(began.UnixMilli()))
	copy(b[:6], moment[2:])
	seconds := min((absolute+time.Second-1)/time.Second, 1<<32-1)
	binary.BigEndian.PutUint32(b[6:10], uint32(seconds))
	_, _ = rand.Read(b[10:payloadLength])
	copy(b[payloadLength:], s.mac(s.keys[0], b[:payloadLength]))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// read returns what a signed id says, and whether one of the keys has signed it.
func (s *signer) read(id string) (began time.Time, absolute time.Duration, ok bool) {
	var b [payloadLength + macLength]byte
	if len(id) != signedLength {
		return began, 0, false
	}
	if n, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(id)); err != nil || n != len(b) {
		return began, 0, false
	}
	for _, key := range s.keys {
		if hmac.Equal(s.mac(key, b[:payloadLength]), b[payloadLength:]) {
			var moment [8]byte
			copy(moment[2:], b[:6])
			return time.UnixMilli(int64(binary.BigEndian.Uint64(moment[:]))),
				time.Duration(binary.BigEndian.Uint32(b[6:10])) * time.Second, true
		}
	}
	return began, 0, false
}

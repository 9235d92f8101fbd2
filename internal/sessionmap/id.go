package sessionmap

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"unicode"

	"github.com/gf-strata/strata/tiers"
)

var errFileID = tiers.NewError("strata: this session id can't name a file of StorageFile; "+
	"use ids of letters, digits, '-' and '_', such as gsession.NewSessionId makes", nil)

// CheckFileID returns why StorageFile can have no session under the id: it would write outside
// its folder, can't open the file, or takes the id for another one, as it trims white space and
// control characters.
func CheckFileID(id string) error {
	if len(id) > 200 || strings.ContainsAny(id, `/\`) || strings.Contains(id, "..") ||
		strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return errFileID
	}
	return nil
}

// NewID returns a session id that nobody can guess: 128 bits from crypto/rand, as 22 characters
// that are safe in URLs, headers, cookies and file names.
func NewID() string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails, as of Go 1.24
	return base64.RawURLEncoding.EncodeToString(random[:])
}

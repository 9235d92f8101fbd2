package tiers

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"unicode"
)

// MaxID is the longest id that a session can have, in bytes. What is remembered of sessions by
// number is bounded by it as well.
const MaxID = 512

var (
	errNoID   = NewError("strata: a session operation needs an id; take one from Storage.New or gsession.NewSessionId", nil)
	errLongID = NewError("strata: a session id has 512 bytes at most; take one from gsession.NewSessionId", nil)
	errFileID = NewError("strata: this session id can't name a file of StorageFile; "+
		"use ids of letters, digits, '-' and '_', such as gsession.NewSessionId makes", nil)
)

// CheckID returns why no session can have the id, in no store. A chain checks each call, so
// that its layers needn't; a layer that is used without a chain checks what it hands out and
// takes back.
func CheckID(id string) error {
	switch {
	case id == "":
		return errNoID
	case len(id) > MaxID:
		return errLongID
	}
	return nil
}

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

package index

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/tiers"
)

// Key is the key of a session that this package reserves. Its value is a text of fields between
// semicolons: the version 1, the hash of the principal, the session's tag, the two nonces that it
// was given when it began, that moment in milliseconds in base 36, the device class, the principal
// with its semicolons escaped, and the description as JSON. Nodes without this package pass it on.
const Key = "strata.index"

// webKey is where layer/web keeps the principal that web.Login was given, as the last of seven
// fields.
const (
	webKey    = "strata.web"
	webFields = 7
)

// record is the index's own data in a session. It is immutable.
type record struct {
	key       principals.Key
	tag       string
	own, all  string // nonces
	begun     int64  // in milliseconds, so that it is the same before and after a store
	class     string
	principal string // escaped
	described string // JSON, "" for nothing
}

const (
	recordFields = 9
	tagLength    = 11
)

var encoding = base64.RawURLEncoding

func (r record) String() string {
	b := make([]byte, 0, 96+len(r.described))
	b = append(b, "1;"...)
	b = encoding.AppendEncode(b, r.key[:])
	for _, field := range [...]string{r.tag, r.own, r.all} {
		b = append(append(b, ';'), field...)
	}
	b = strconv.AppendInt(append(b, ';'), r.begun, 36)
	for _, field := range [...]string{r.class, r.principal} {
		b = append(append(b, ';'), field...)
	}
	return string(append(append(b, ';'), r.described...))
}

// recordOf reads a session's record; one that can't be read is none.
func recordOf(data map[string]any) (r record, ok bool) {
	text, ok := data[Key].(string)
	if !ok {
		return record{}, false
	}
	fields := strings.SplitN(text, ";", recordFields)
	if len(fields) != recordFields || fields[0] != "1" || len(fields[1]) != encoding.EncodedLen(len(r.key)) || len(fields[2]) != tagLength {
		return record{}, false
	}
	begun, err := strconv.ParseInt(fields[5], 36, 64)
	if n, bad := encoding.Decode(r.key[:], []byte(fields[1])); err != nil || bad != nil || n != len(r.key) {
		return record{}, false
	}
	r.tag, r.own, r.all, r.begun, r.class, r.principal, r.described = fields[2], fields[3], fields[4], begun, fields[6], fields[7], fields[8]
	return r, true
}

// owners says whose a session's data is, "" for nobody's; nil for what web.Login says alone.
type owners func(data map[string]any) string

// whose is the principal of a session's data, "" for none.
func (of owners) whose(data map[string]any) string {
	if len(data) == 0 {
		return ""
	}
	if of != nil {
		if p := of(data); p != "" {
			return p
		}
	}
	return noted(data)
}

// holds reports whether a session is still that of an entry: another one may have begun under its id.
func (of owners) holds(session *tiers.Snapshot, entry principals.Entry) bool {
	if session.Len() == 0 {
		return false
	}
	_, r, has := of.recorded(session.Data())
	return r.key == entry.Key && (!has || r.tag == entry.Tag)
}

// recorded returns whose a session is, "" for nobody's, and its record, or what stands for that if it
// began before there was an index.
func (of owners) recorded(data map[string]any) (principal string, r record, has bool) {
	if principal = of.whose(data); principal == "" {
		return "", record{}, false
	}
	if r, has = recordOf(data); has && r.isOf(principal) {
		return principal, r, true
	}
	return principal, record{key: principals.KeyOf(principal), principal: escape(principal)}, false
}

// newRecord makes the record of a session that begins.
func newRecord(principal string, described map[string]string) record {
	r := record{key: principals.KeyOf(principal), principal: escape(principal), tag: newTag(), begun: time.Now().UnixMilli(), class: classOf(described)}
	if len(described) > 0 {
		content, err := json.Marshal(described)
		if err == nil && len(content) <= mostDescribed {
			r.described = string(content)
		}
	}
	return r
}

// escape keeps a principal apart from the fields beside it, and valid as UTF-8.
func escape(principal string) string { return url.QueryEscape(principal) }

// isOf reports whether the record is of a session of the principal.
func (r record) isOf(principal string) bool { return r.principal == escape(principal) }

const (
	mostDescribed = 1024
	mostClass     = 32
)

// classOf is the device class that a description names, as it may stand between fields.
func classOf(described map[string]string) string {
	class := strings.Map(func(c rune) rune {
		if c <= ' ' || c == ';' || c > '~' {
			return '_'
		}
		return c
	}, described[Device])
	return class[:min(len(class), mostClass)]
}

// newTag is 64 random bits in 11 characters.
func newTag() string {
	var random [8]byte
	_, _ = rand.Read(random[:])
	return encoding.EncodeToString(random[:])
}

// newNonce makes the nonce of a mark.
func newNonce() string { return newTag() }

func (r record) description() map[string]string {
	described := map[string]string{}
	if r.described != "" {
		_ = json.Unmarshal([]byte(r.described), &described)
	}
	return described
}

func (r record) entry(id string, ttl time.Duration) principals.Entry {
	principal, _ := url.QueryUnescape(r.principal)
	return principals.Entry{
		Principal: principal, Key: r.key, ID: id, Tag: r.tag, Class: r.class,
		Begun: time.UnixMilli(r.begun), TTL: ttl,
	}
}

// noted is the principal that web.Login has noted, "" for nobody.
func noted(data map[string]any) string {
	text, _ := data[webKey].(string)
	if !strings.HasPrefix(text, "1;") {
		return ""
	}
	fields := strings.SplitN(text, ";", webFields)
	if len(fields) != webFields {
		return ""
	}
	return fields[webFields-1]
}

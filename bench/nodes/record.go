package main

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Kind is what an operation did.
type Kind uint8

const (
	Read Kind = iota
	Change
	Login
	Logout
)

// Outcome is how an operation ended for its caller.
type Outcome uint8

const (
	OK      Outcome = iota
	Maybe           // an error or a time-out: applied, or not, or later
	Revoked         // refused: nothing was written
	Perhaps         // applied before its end, or never
)

// Truth is the node of records that were read from the masters themselves, without any
// cache, once all was quiet.
const Truth = -1

// Outside is the node of what programs without Strata do.
const Outside = -2

// never is later than every moment.
const never = math.MaxInt64

// Cell is what a read saw of one writer's key.
type Cell struct {
	Writer  int
	Version int64
}

// Record is one operation, with the moments before it began and after it had ended on
// the clock of its own process.
type Record struct {
	Node, Writer int
	Kind         Kind
	Outcome      Outcome
	ID           string
	Epoch        int64 // Read: the log-in seen, 0 for none; Change: the one it was given; Login: its own
	Version      int64 // Change, Login: what the writer's own key became
	Last         Token // Read: what the shared key held
	Absent       bool  // Read: there was no session
	Cells        []Cell
	Start, End   int64
	Slid         int64 // Read: when its request had ended, which slides the expiry; never if that isn't known, 0 if it doesn't

	Acked int64 // set by the checker: from when on it must be seen, never where it needn't
}

// Token is a write's value of the shared key.
type Token struct {
	Writer  int
	Version int64
}

// The keys of a session: the log-in's own value, one counter a writer, and a key that
// all of them write.
const (
	keyEpoch  = "e"
	keyLast   = "last"
	keyWriter = "w"
)

func ownKey(writer int) string { return keyWriter + strconv.Itoa(writer) }

func (t Token) String() string {
	return strconv.Itoa(t.Writer) + ":" + strconv.FormatInt(t.Version, 10)
}

// content is the session as a log-in leaves it.
func content(epoch int64, writer int, version int64) map[string]any {
	return map[string]any{
		keyEpoch:       strconv.FormatInt(epoch, 10),
		ownKey(writer): strconv.FormatInt(version, 10),
		keyLast:        Token{writer, version}.String(),
	}
}

// saw fills in what a read returned.
func (r *Record) saw(data map[string]any) {
	r.Absent = len(data) == 0
	for key, value := range data {
		text, _ := value.(string)
		switch writer, own := strings.CutPrefix(key, keyWriter); {
		case key == keyEpoch:
			r.Epoch, _ = strconv.ParseInt(text, 10, 64)
		case key == keyLast:
			writer, version, _ := strings.Cut(text, ":")
			r.Last.Writer, _ = strconv.Atoi(writer)
			r.Last.Version, _ = strconv.ParseInt(version, 10, 64)
		case own:
			cell := Cell{}
			cell.Writer, _ = strconv.Atoi(writer)
			cell.Version, _ = strconv.ParseInt(text, 10, 64)
			r.Cells = append(r.Cells, cell)
		}
	}
	slices.SortFunc(r.Cells, func(a, b Cell) int { return cmp.Compare(a.Writer, b.Writer) })
}

// same reports whether two reads show the same.
func (r *Record) same(other *Record) bool {
	return r.Absent == other.Absent && r.Epoch == other.Epoch && r.Last == other.Last && slices.Equal(r.Cells, other.Cells)
}

func (r *Record) version(writer int) int64 {
	for _, c := range r.Cells {
		if c.Writer == writer {
			return c.Version
		}
	}
	return 0
}

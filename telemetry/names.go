package telemetry

import "go.opentelemetry.io/otel/attribute"

// Scope is the instrumentation scope of all that Strata emits.
const Scope = "github.com/gf-strata/strata"

// Version is Strata's, and that of the scope: otel_scope_version in Prometheus.
const Version = "0.1.0"

// The attributes; the table of the package says what they hold.
const (
	OperationKey = attribute.Key("strata.operation")
	OutcomeKey   = attribute.Key("strata.outcome")
	StorageKey   = attribute.Key("strata.storage")
	StyleKey     = attribute.Key("strata.style")
	KeysKey      = attribute.Key("strata.keys")
	BytesKey     = attribute.Key("strata.bytes")
	ErrorTypeKey = attribute.Key("error.type")
)

// Outcome says how an operation ended, and what served it. The zero value is OK.
type Outcome uint8

// The outcomes; the table of the package says what they mean.
const (
	OK Outcome = iota
	Hit
	Miss
	Negative
	Pending
	Stale
	Absent
	Disabled
	Revoked
	Failed
)

var outcomeNames = [...]string{"ok", "hit", "miss", "negative", "pending", "stale", "absent", "disabled", "revoked", "error"}

// String is the value of the attribute.
func (o Outcome) String() string { return outcomeNames[o] }

// Failure reports whether the outcome makes the status of its span an error.
func (o Outcome) Failure() bool { return o == Revoked || o == Failed }

// Operation is a method of a storage. It is a number, so that what is prepared for
// each operation is found in an array.
type Operation uint8

// The operations: gsession.Storage's eleven, those of a snapshot store, and that of an index.
const (
	New Operation = iota
	Get
	GetSize
	Data
	Set
	SetMap
	Remove
	RemoveAll
	GetSession
	SetSession
	UpdateTTL
	Load
	Commit
	Slide
	CommitAll
	LoadAll
	Index      // what the store is asked about principals
	operations // how many there are
)

const spanPrefix = "session "

// spanNames are whole, so that naming a span joins no strings.
var spanNames = [operations]string{
	New: "New", Get: "Get", GetSize: "GetSize", Data: "Data", Set: "Set", SetMap: "SetMap", Remove: "Remove", RemoveAll: "RemoveAll",
	GetSession: "GetSession", SetSession: "SetSession", UpdateTTL: "UpdateTTL",
	Load: "Load", Commit: "Commit", Slide: "Slide", CommitAll: "CommitAll", LoadAll: "LoadAll", Index: "Index",
}

func init() {
	for op, name := range spanNames {
		spanNames[op] = spanPrefix + name
	}
}

// SpanName is the name of the operation's spans.
func (op Operation) SpanName() string { return spanNames[op] }

// String is the name of the method.
func (op Operation) String() string { return spanNames[op][len(spanPrefix):] }

// The values of error.type that are no Go types.
const (
	TypeCanceled         = "context_canceled"
	TypeDeadlineExceeded = "deadline_exceeded"
	TypeRevoked          = "revoked"
	TypePanic            = "panic"
)

package telemetry

import (
	"context"
	"errors"
	"reflect"

	"go.opentelemetry.io/otel/attribute"
)

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

// Outcome says how an operation ended, and what served it.
type Outcome string

// The outcomes; the table of the package says what they mean.
const (
	Hit      Outcome = "hit"
	Negative Outcome = "negative"
	Miss     Outcome = "miss"
	Absent   Outcome = "absent"
	Pending  Outcome = "pending"
	Stale    Outcome = "stale"
	OK       Outcome = "ok"
	Disabled Outcome = "disabled"
	Revoked  Outcome = "revoked"
	Failed   Outcome = "error"
)

// Failure reports whether the outcome makes the status of its span an error.
func (o Outcome) Failure() bool { return o == Revoked || o == Failed }

// Operation is a method of a storage. It is a number, so that what is prepared for
// each operation is found in an array.
type Operation uint8

// The operations: gsession.Storage's eleven, and those of a snapshot store.
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
	operations // how many there are
)

// spanNames are whole, so that naming a span joins no strings.
var spanNames = [operations]string{
	New:        spanPrefix + "New",
	Get:        spanPrefix + "Get",
	GetSize:    spanPrefix + "GetSize",
	Data:       spanPrefix + "Data",
	Set:        spanPrefix + "Set",
	SetMap:     spanPrefix + "SetMap",
	Remove:     spanPrefix + "Remove",
	RemoveAll:  spanPrefix + "RemoveAll",
	GetSession: spanPrefix + "GetSession",
	SetSession: spanPrefix + "SetSession",
	UpdateTTL:  spanPrefix + "UpdateTTL",
	Load:       spanPrefix + "Load",
	Commit:     spanPrefix + "Commit",
	Slide:      spanPrefix + "Slide",
	CommitAll:  spanPrefix + "CommitAll",
	LoadAll:    spanPrefix + "LoadAll",
}

const spanPrefix = "session "

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

// ErrorType is the class of an error: a constant, or a Go type, of which a program
// has few. Its text is not looked at (law 10). It is "" where there is no error.
func ErrorType(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return TypeCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return TypeDeadlineExceeded
	}
	return reflect.TypeOf(innermost(err)).String()
}

// innermost unwraps to where the error began; of joined errors it follows the first.
func innermost(err error) error {
	for {
		var next error
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			next = e.Unwrap()
		case interface{ Unwrap() []error }:
			if all := e.Unwrap(); len(all) > 0 {
				next = all[0]
			}
		}
		if next == nil {
			return err
		}
		err = next
	}
}

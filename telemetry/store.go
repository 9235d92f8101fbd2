package telemetry

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Store measures how long a store takes for its operations. A nil one measures nothing, and neither does one
// whose storage isn't the store of its chain.
//
// measured and storage are set by NewStore, decorates is atomic; the reporter and options
// guard themselves.
type Store struct {
	reporter  Reporter
	measured  any
	decorates atomic.Bool
	storage   attribute.KeyValue
	options   sync.Map // of storeOutcome, metric.MeasurementOption
}

type storeOutcome struct {
	operation Operation
	errorType string
}

// NewStore measures the operations of a storage, which is named by its type.
func NewStore(storage any) *Store {
	return &Store{measured: storage, storage: StorageKey.String(reflect.TypeOf(storage).String())}
}

// Report sets where to.
func (s *Store) Report(to *Sink) {
	if s != nil {
		s.decorates.Store(to.store != nil && !same(s.measured, to.store))
		s.reporter.Move(to, nil)
	}
}

// same compares two storages; of those that can't be compared, the types.
func same(a, b any) bool {
	if reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() {
		return a == b
	}
	return reflect.TypeOf(a) == reflect.TypeOf(b)
}

// Begin returns when an operation began, the zero time if no provider wants to know.
func (s *Store) Begin() time.Time {
	if s == nil || s.decorates.Load() {
		return time.Time{}
	}
	if sink := s.reporter.sink(); !sink.delays.kept() && !sink.meters().listened() {
		return time.Time{}
	}
	return time.Now()
}

// End records an operation; errorType is "" where it succeeded. The span in the context,
// if any, becomes its exemplar.
func (s *Store) End(ctx context.Context, began time.Time, operation Operation, errorType string) {
	if s == nil || began.IsZero() {
		return
	}
	took := time.Since(began)
	sink := s.reporter.sink()
	sink.delays.record(storeDuration, operation.String(), took)
	key := storeOutcome{operation, errorType}
	option, ok := s.options.Load(key)
	if !ok {
		attributes := []attribute.KeyValue{OperationKey.String(operation.String()), s.storage}
		if errorType != "" {
			attributes = append(attributes, ErrorTypeKey.String(errorType))
		}
		option, _ = s.options.LoadOrStore(key, metric.WithAttributeSet(attribute.NewSet(attributes...)))
	}
	sink.meters().record(ctx, storeDuration, took, option.(metric.RecordOption))
}

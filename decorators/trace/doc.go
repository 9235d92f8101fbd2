// Package trace makes an OpenTelemetry span of every operation of a session
// storage. Programs use it as layer.Traced; package telemetry lists the names.
//
// A span is made of what passes this layer: put it innermost to see the store, and
// outermost to see what the requests see. Both at once show what is between:
//
//	layer.Chain(store, layer.Traced(), layer.Local(), layer.Traced())
//
//	session Load              strata.outcome=miss  strata.storage=*local.Storage
//	└─ session Load           strata.outcome=ok    strata.storage=*gsession.StorageRedis
//
// The calls that a store of whole sessions disables (New, Get, Set and the like) make none.
//
// The decorator changes nothing that passes: results, errors and panics are those of
// the storage below (law 1), and what is recorded of them is never a session's id,
// key or value, nor an error's text (law 10).
package trace

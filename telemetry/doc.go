// Package telemetry is the one place that knows what Strata is called in
// OpenTelemetry: the scope, the operations, the attributes and their values, and
// when a span is worth making. Decorators and tiers take their names from here.
//
// No name and no value in it comes from a session: ids, keys, values and the texts
// of errors, which may quote them, are never passed on (law 10).
//
// # Names
//
//	scope                 github.com/gf-strata/strata
//	span                  "session " and the operation: "session Load"; kind INTERNAL
//
//	attribute             values
//	strata.operation      the method of the storage: New, Get, GetSize, Data, Set, SetMap,
//	                      Remove, RemoveAll, GetSession, SetSession, UpdateTTL, and of a
//	                      snapshot store Load, Commit and Slide
//	strata.outcome        see below
//	strata.storage        the Go type of the storage that was asked: "*gsession.StorageRedis"
//	strata.style          snapshot, direct or opaque; absent until a layer has asked for it
//	strata.keys           how many keys were read, or were set and removed; absent where
//	                      counting would cost something
//	error.type            as OpenTelemetry has it; only beside the outcomes revoked and error:
//	                      context_canceled, deadline_exceeded, revoked, panic, or the Go type
//	                      of the innermost error: "*net.OpError"
//
// In a chain over a snapshot store, GetSession arrives as Load, SetSession as
// Commit, and UpdateTTL as Slide where a layer above wants to know what came of it.
//
// # Outcomes
//
//	outcome     answered from    status   meaning
//	hit         memory           unset    the session is in memory
//	negative    memory           unset    memory knows that there is none
//	miss        the store        unset    the session was not in memory
//	absent      the store        unset    the store has no such session, or no such key
//	pending     the store        unset    with changes of this node that aren't there yet
//	stale       memory           unset    the store failed, and ServeStale allows it
//	ok          the store        unset    done, with no memory on the way
//	disabled    the store        unset    gsession.ErrorDisabled: "not this way"
//	revoked     the store        error    a commit to a session that was removed meanwhile
//	error       whoever failed   error    anything else that failed, a panic included
//
// The hit ratio is hit and negative over all of the first seven.
package telemetry

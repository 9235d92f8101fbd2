// Package telemetry is the one place that knows what Strata is called in
// OpenTelemetry: the scope, the operations, the attributes and their values, and
// when a span is worth making. Decorators and tiers take their names from here.
//
// No name and no value in it comes from a session: ids, keys, values and the texts
// of errors, which may quote them, are never passed on (law 10).
//
// Other libraries put their own into the same trace: the server span of GoFrame quotes the
// request's headers, the cookie with the session's id among them. examples/observed drops
// those attributes before they are exported.
//
// # Names
//
//	scope                 github.com/gf-strata/strata, with the version of [Version]
//	span                  "session " and the operation: "session Load"; kind INTERNAL
//
//	attribute             values
//	strata.operation      the method of the storage: New, Get, GetSize, Data, Set, SetMap,
//	                      Remove, RemoveAll, GetSession, SetSession, UpdateTTL, and of a
//	                      snapshot store Load, Commit and Slide, and for several
//	                      sessions at a time LoadAll and CommitAll; Index in
//	                      strata.store.operation.duration alone
//	strata.outcome        see below
//	strata.storage        the Go type of the storage that was asked: "*gsession.StorageRedis"
//	strata.style          snapshot, direct or opaque; absent until a layer has asked for it
//	strata.keys           how many keys were read, or were set and removed; absent where
//	                      counting would cost something
//	strata.bytes          what a session that was read takes in memory, about
//	error.type            as OpenTelemetry has it; only beside the outcomes revoked and error:
//	                      context_canceled, deadline_exceeded, revoked, panic, or the Go type
//	                      of the innermost error: "syscall.Errno"
//
// In a chain over a snapshot store, GetSession arrives as Load, SetSession as Commit, and UpdateTTL as
// Slide if a layer above needs the new expiry.
//
// # Outcomes
//
//	outcome     served from      status   meaning
//	hit         memory           unset    the session is in memory
//	negative    memory           unset    memory knows that there is none
//	miss        the store        unset    the session was not in memory
//	absent      the store        unset    the store has no such session, or no such key
//	pending     the store        unset    with changes of this node that aren't there yet
//	stale       memory           unset    the store failed, and ServeStale allows it
//	ok          the store        unset    done, with no memory on the way; any read of a direct store
//	disabled    the store        unset    gsession.ErrorDisabled: "not this way"
//	revoked     the store        error    a commit to a session that was removed meanwhile
//	error       what failed      error    anything else that failed, a panic included
//
// The reads of a direct store are ok or absent, whatever serves them: strata.local.reads counts how.
// The hit ratio is hit and negative over all of the first seven. The outcome of a batch is that of its
// first failure; a session that was removed meanwhile is none.
//
// A span belongs to the trace in its context. Without one no span is made, except with layer.RootSpans.
// The span of work that is done once for several requests (a commit of merged changes, a batch) is a
// child of the first request whose trace is sampled, and linked to all such requests, 32 at most.
//
// # Metrics
//
// Layers count with atomics that are read when a reader collects, so that a hit pays a few nanoseconds
// with or without a provider. The counts of all layers of a process are added up, closed ones included.
// Without layer.MeterProvider they go to the global provider, or to the first that is set later. With a
// provider that can't be compared, each chain's layers are counted apart.
//
//	metric                              kind            unit            attributes
//	strata.local.reads                  counter         {read}          strata.outcome=hit|miss|negative|stale
//	strata.local.refusals               counter         {session}       strata.reason=expired|invalidated|unread|unvouched
//	strata.local.loads                  counter         {load}
//	strata.local.shared_reads           counter         {read}
//	strata.local.evictions              counter         {session}
//	strata.local.rejections             counter         {session}       strata.reason=policy|queue
//	strata.local.invalidations          counter         {invalidation}  strata.cause=audit|loss|own_write|store|write
//	strata.local.sessions               updowncounter   {session}
//	strata.local.memory.usage           updowncounter   By
//	strata.local.memory.limit           updowncounter   By
//	strata.audit.reads                  counter         {read}          strata.outcome=changed|different|error|same|skipped
//	strata.audit.age                    histogram       s
//	strata.coalesce.changes             counter         {change}
//	strata.coalesce.commits             counter         {commit}        strata.outcome=error|ok|revoked
//	strata.coalesce.retries             counter         {commit}
//	strata.coalesce.give_ups            counter         {change}        strata.outcome=error|revoked
//	strata.coalesce.pending.changes     updowncounter   {change}
//	strata.coalesce.pending.memory      updowncounter   By
//	strata.coalesce.pending.age         gauge           s
//	strata.revoked_writes               counter         {write}
//	strata.slides                       counter         {slide}         strata.outcome=sent|skipped
//	strata.watch.connected              gauge           {source}
//	strata.watch.unsupported            gauge           {source}
//	strata.watch.losses                 counter         {loss}
//	strata.invalidation.delay           histogram       s
//	strata.store.operation.duration     histogram       s               strata.operation strata.storage error.type
//
// Histograms and their attributes; they count seconds:
//
//	strata.audit.age                 1ms 5ms 10ms 50ms 100ms 500ms 1s 5s 10s 1m 10m 1h
//	strata.invalidation.delay        10µs 25µs 50µs 100µs 250µs 500µs 1ms 2.5ms 5ms 10ms 25ms 50ms 100ms 250ms 500ms 1s
//	strata.store.operation.duration  10µs 25µs 50µs 100µs 250µs 500µs 1ms 2.5ms 5ms 10ms 25ms 50ms 100ms 250ms 500ms 1s 2.5s 5s 10s
//
// Each read of memory has one outcome. A read that memory refused is a miss: the session was there, but
//
//   - a write had invalidated it (strata.reason=invalidated),
//   - it had expired (expired),
//   - no source vouched for it (unvouched), or
//   - Redis had notified of an own write, and the session was not read again in time (unread).
//
// The causes of an invalidation (strata.cause) are
//
//   - a write of this node (write),
//   - an invalidation from the store, which may be about all sessions at once (store),
//   - one about an own write whose state could not be read again, or was another one (own_write),
//   - a loss of invalidations, after which everything is invalid (loss), and
//   - an audit that found a difference (audit).
//
// The delay of an invalidation is measured on own writes, from their end until it arrives, and is 0 if
// it came first. The age of an audited session that differed is how long it had been in memory: it may
// have been wrong for a part of that. An audit's "changed" is a difference that is allowed, as its
// invalidation was on its way, or MaxStale was not over.
//
// Each slide is counted once, by the lowest of Local and Coalesced. Revoked writes are those for which a
// caller got an error; changes that were accepted before are among the give-ups (strata.outcome=revoked). Other
// give-ups are lost (error).
//
// The store's operations are those of the innermost storage, from their first command. A call that is
// refused before that is none, and neither is ErrorDisabled. CommitAll and LoadAll are one operation
// each, repetitions included. Each command of layer.Indexed, or
// several that go together, is an operation Index.
//
// # Log
//
// Faults that no caller may see are logged as warnings, one line each ten seconds for one cause: errors
// of closes, which GoFrame drops; writes that fail after their client has left; changes that are given
// up, or wait in the journal at the end; invalidations that don't arrive, or can't; a journal that fails;
// differences that an audit has found. Warnings of a chain that is being built are logged when it is
// complete.
package telemetry

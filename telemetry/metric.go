package telemetry

import "go.opentelemetry.io/otel/attribute"

// The names of the histograms.
const (
	auditAge          = "strata.audit.age"
	invalidationDelay = "strata.invalidation.delay"
	storeDuration     = "strata.store.operation.duration"
)

// Count is a series of a counter: the counter with an attribute's value. A layer counts
// in its own [Tally].
type Count uint8

// The series; see the table of the package.
const (
	ReadHit Count = iota
	ReadMiss
	ReadNegative
	ReadStale
	RefusedInvalidated
	RefusedExpired
	RefusedUnvouched
	RefusedUnread
	Loads
	SharedReads
	Evictions
	RejectedByPolicy
	RejectedByQueue
	InvalidatedByWrite
	InvalidatedByStore
	InvalidatedByOwnWrite
	InvalidatedByLoss
	InvalidatedByAudit
	AuditSame
	AuditChanged
	AuditDiffers
	AuditFailed
	AuditSkipped
	CommitOK
	CommitRevoked
	CommitFailed
	Changes
	Retries
	GiveUpRevoked
	GiveUpFailed
	SlideSent
	SlideSkipped
	WatchLosses
	Revocations
	numCounts // how many there are
)

// reasonKey says why memory refused a session, or a session was refused by it; causeKey
// what invalidated one.
const (
	reasonKey = attribute.Key("strata.reason")
	causeKey  = attribute.Key("strata.cause")
)

// counterDef says how a counter is exported, and which counts are its series: with which values of the attribute.
type counterDef struct {
	metric, unit, description string
	key                       attribute.Key
	series                    map[Count]string
}

var counters = []counterDef{
	{"strata.local.reads", "{read}", "Reads that asked memory, by outcome.", OutcomeKey, map[Count]string{
		ReadHit: Hit.String(), ReadMiss: Miss.String(), ReadNegative: Negative.String(), ReadStale: Stale.String(),
	}},
	{"strata.local.refusals", "{session}", "Sessions in memory that could not be served, by reason.", reasonKey, map[Count]string{
		RefusedInvalidated: "invalidated", RefusedExpired: "expired", RefusedUnvouched: "unvouched", RefusedUnread: "unread",
	}},
	{"strata.local.loads", "{load}", "Loads from the layer below.", "", only(Loads)},
	{"strata.local.shared_reads", "{read}", "Reads that waited for the load of another.", "", only(SharedReads)},
	{"strata.local.evictions", "{session}", "Sessions that left memory to make room.", "", only(Evictions)},
	{"strata.local.rejections", "{session}", "Sessions that were not taken into memory, by reason.", reasonKey, map[Count]string{
		RejectedByPolicy: "policy", RejectedByQueue: "queue",
	}},
	{"strata.local.invalidations", "{invalidation}", "Events that invalidated what is in memory, by cause.", causeKey, map[Count]string{
		InvalidatedByWrite: "write", InvalidatedByStore: "store", InvalidatedByOwnWrite: "own_write", InvalidatedByLoss: "loss",
		InvalidatedByAudit: "audit",
	}},
	{"strata.audit.reads", "{read}", "Hits that were compared with the store, by outcome.", OutcomeKey, map[Count]string{
		AuditSame: "same", AuditChanged: "changed", AuditDiffers: "different", AuditFailed: Failed.String(), AuditSkipped: "skipped",
	}},
	{"strata.coalesce.commits", "{commit}", "Commits that were brought to the store, by outcome.", OutcomeKey, map[Count]string{
		CommitOK: OK.String(), CommitRevoked: Revoked.String(), CommitFailed: Failed.String(),
	}},
	{"strata.coalesce.changes", "{change}", "Changes that were merged into commits.", "", only(Changes)},
	{"strata.coalesce.retries", "{commit}", "Commits that are tried again.", "", only(Retries)},
	{"strata.coalesce.give_ups", "{change}", "Changes that were accepted and could not be delivered, by why.", OutcomeKey, map[Count]string{
		GiveUpRevoked: Revoked.String(), GiveUpFailed: Failed.String(),
	}},
	{"strata.slides", "{slide}", "Slides of an expiry, by whether the store was asked.", OutcomeKey, map[Count]string{
		SlideSent: "sent", SlideSkipped: "skipped",
	}},
	{"strata.revoked_writes", "{write}", "Writes that were refused as their session had been removed.", "", only(Revocations)},
	{"strata.watch.losses", "{loss}", "Times that the store's invalidations have stopped arriving.", "", only(WatchLosses)},
}

// only is the one series of a counter without attributes.
func only(c Count) map[Count]string { return map[Count]string{c: ""} }

// series is the metric of a Count, with the value of its attribute, if it has one.
type series struct {
	metric, value string
	attributes    attribute.Set
}

var allSeries = func() (all [numCounts]series) {
	for _, c := range counters {
		for count, value := range c.series {
			all[count] = series{metric: c.metric, value: value}
			if c.key != "" {
				all[count].attributes = attribute.NewSet(c.key.String(value))
			}
		}
	}
	return all
}()

// Gauge is a state of a layer.
type Gauge uint8

// The gauges; see the table of the package.
const (
	Sessions Gauge = iota
	MemoryUsage
	MemoryLimit
	PendingChanges
	PendingMemory
	PendingAge // in seconds
	WatchConnected
	WatchUnsupported
	numGauges // how many there are
)

// gaugeDef says how a gauge is exported and how those of several layers become one. An additive one, over layers and
// nodes, is an UpDownCounter of whole numbers to OpenTelemetry.
type gaugeDef struct {
	metric, unit, description string
	additive                  bool
	fold                      func(a, b float64) float64
}

func sum(a, b float64) float64   { return a + b }
func most(a, b float64) float64  { return max(a, b) }
func least(a, b float64) float64 { return min(a, b) }

// A unit of "1" would have Prometheus call a state a ratio.
var gauges = [numGauges]gaugeDef{
	Sessions:         {"strata.local.sessions", "{session}", "Sessions in memory.", true, sum},
	MemoryUsage:      {"strata.local.memory.usage", "By", "Memory that sessions take, about.", true, sum},
	MemoryLimit:      {"strata.local.memory.limit", "By", "The bound of that memory.", true, sum},
	PendingChanges:   {"strata.coalesce.pending.changes", "{change}", "Changes that are accepted and not in the store yet.", true, sum},
	PendingMemory:    {"strata.coalesce.pending.memory", "By", "Memory that they take, about.", true, sum},
	PendingAge:       {"strata.coalesce.pending.age", "s", "How long the oldest of them has been waiting.", false, most},
	WatchConnected:   {"strata.watch.connected", "{source}", "1 while the store's invalidations arrive, else 0.", false, least},
	WatchUnsupported: {"strata.watch.unsupported", "{source}", "1 where the store can't notify of its changes, else 0.", false, most},
}

package telemetry

import "go.opentelemetry.io/otel/attribute"

// The names of the metrics; the table of the package says what they count.
const (
	localReads         = "strata.local.reads"
	localRefusals      = "strata.local.refusals"
	localLoads         = "strata.local.loads"
	localShared        = "strata.local.shared_reads"
	localEvictions     = "strata.local.evictions"
	localRejections    = "strata.local.rejections"
	localInvalidations = "strata.local.invalidations"
	localSessions      = "strata.local.sessions"
	localMemory        = "strata.local.memory.usage"
	localLimit         = "strata.local.memory.limit"
	audits             = "strata.audit.reads"
	auditAge           = "strata.audit.age"
	commits            = "strata.coalesce.commits"
	changes            = "strata.coalesce.changes"
	retries            = "strata.coalesce.retries"
	giveUps            = "strata.coalesce.give_ups"
	pendingChanges     = "strata.coalesce.pending.changes"
	pendingBytes       = "strata.coalesce.pending.memory"
	pendingAge         = "strata.coalesce.pending.age"
	slides             = "strata.slides"
	watchConnected     = "strata.watch.connected"
	watchUnsupported   = "strata.watch.unsupported"
	watchLosses        = "strata.watch.losses"
	invalidationDelay  = "strata.invalidation.delay"
	revokedWrites      = "strata.revoked_writes"
	storeDuration      = "strata.store.operation.duration"
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
	GiveUps
	SlideSent
	SlideSkipped
	WatchLosses
	Revocations
	numCounts // how many there are
)

// ReasonKey says why memory refused a session, or a session was refused by it; CauseKey
// what invalidated one.
const (
	ReasonKey = attribute.Key("strata.reason")
	CauseKey  = attribute.Key("strata.cause")
)

// series is the metric and the attributes of a Count.
type series struct {
	metric     string
	attributes attribute.Set
}

var allSeries = [numCounts]series{
	ReadHit:               with(localReads, OutcomeKey, Hit.String()),
	ReadMiss:              with(localReads, OutcomeKey, Miss.String()),
	ReadNegative:          with(localReads, OutcomeKey, Negative.String()),
	ReadStale:             with(localReads, OutcomeKey, Stale.String()),
	RefusedInvalidated:    with(localRefusals, ReasonKey, "invalidated"),
	RefusedExpired:        with(localRefusals, ReasonKey, "expired"),
	RefusedUnvouched:      with(localRefusals, ReasonKey, "unvouched"),
	RefusedUnread:         with(localRefusals, ReasonKey, "unread"),
	Loads:                 {metric: localLoads},
	SharedReads:           {metric: localShared},
	Evictions:             {metric: localEvictions},
	RejectedByPolicy:      with(localRejections, ReasonKey, "policy"),
	RejectedByQueue:       with(localRejections, ReasonKey, "queue"),
	InvalidatedByWrite:    with(localInvalidations, CauseKey, "write"),
	InvalidatedByStore:    with(localInvalidations, CauseKey, "store"),
	InvalidatedByOwnWrite: with(localInvalidations, CauseKey, "own_write"),
	InvalidatedByLoss:     with(localInvalidations, CauseKey, "loss"),
	InvalidatedByAudit:    with(localInvalidations, CauseKey, "audit"),
	AuditSame:             with(audits, OutcomeKey, "same"),
	AuditChanged:          with(audits, OutcomeKey, "changed"),
	AuditDiffers:          with(audits, OutcomeKey, "different"),
	AuditFailed:           with(audits, OutcomeKey, Failed.String()),
	AuditSkipped:          with(audits, OutcomeKey, "skipped"),
	CommitOK:              with(commits, OutcomeKey, OK.String()),
	CommitRevoked:         with(commits, OutcomeKey, Revoked.String()),
	CommitFailed:          with(commits, OutcomeKey, Failed.String()),
	Changes:               {metric: changes},
	Retries:               {metric: retries},
	GiveUps:               {metric: giveUps},
	SlideSent:             with(slides, OutcomeKey, "sent"),
	SlideSkipped:          with(slides, OutcomeKey, "skipped"),
	WatchLosses:           {metric: watchLosses},
	Revocations:           {metric: revokedWrites},
}

func with(metric string, key attribute.Key, value string) series {
	return series{metric: metric, attributes: attribute.NewSet(key.String(value))}
}

// counters are the counters' units and descriptions.
var counters = map[string][2]string{
	localReads:         {"{read}", "Reads that asked memory, by outcome."},
	localRefusals:      {"{session}", "Sessions in memory that could not be served, by reason."},
	localLoads:         {"{load}", "Loads from the layer below."},
	localShared:        {"{read}", "Reads that waited for the load of another."},
	localEvictions:     {"{session}", "Sessions that left memory to make room."},
	localRejections:    {"{session}", "Sessions that were not taken into memory, by reason."},
	localInvalidations: {"{invalidation}", "Events that invalidated what is in memory, by cause."},
	audits:             {"{read}", "Hits that were compared with the store, by outcome."},
	commits:            {"{commit}", "Commits that were brought to the store, by outcome."},
	changes:            {"{change}", "Changes that were merged into commits."},
	retries:            {"{commit}", "Commits that are tried again."},
	giveUps:            {"{change}", "Changes that were accepted and could not be delivered."},
	slides:             {"{slide}", "Slides of an expiry, by whether the store was asked."},
	revokedWrites:      {"{write}", "Writes that were refused as their session had been removed."},
	watchLosses:        {"{loss}", "Times that the store's invalidations have stopped arriving."},
}

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

// gaugeDef says how a gauge is exported and how those of several layers become one.
type gaugeDef struct {
	metric, unit, description string
	kind                      gaugeKind
	fold                      func(a, b float64) float64
}

// gaugeKind is an instrument: what adds up over layers and nodes is no gauge to
// OpenTelemetry.
type gaugeKind uint8

const (
	additive gaugeKind = iota // a whole number, an UpDownCounter
	whole
	seconds
)

func sum(a, b float64) float64   { return a + b }
func most(a, b float64) float64  { return max(a, b) }
func least(a, b float64) float64 { return min(a, b) }

// A unit of "1" would have Prometheus call a state a ratio.
var gauges = [numGauges]gaugeDef{
	Sessions:         {localSessions, "{session}", "Sessions in memory.", additive, sum},
	MemoryUsage:      {localMemory, "By", "Memory that sessions take, about.", additive, sum},
	MemoryLimit:      {localLimit, "By", "The bound of that memory.", additive, sum},
	PendingChanges:   {pendingChanges, "{change}", "Changes that are accepted and not in the store yet.", additive, sum},
	PendingMemory:    {pendingBytes, "By", "Memory that they take, about.", additive, sum},
	PendingAge:       {pendingAge, "s", "How long the oldest of them has been waiting.", seconds, most},
	WatchConnected:   {watchConnected, "{source}", "1 while the store's invalidations arrive, else 0.", whole, least},
	WatchUnsupported: {watchUnsupported, "{source}", "1 where the store can't notify of its changes, else 0.", whole, most},
}

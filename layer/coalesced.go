package layer

import (
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/coalesce"
)

// CoalescedOption sets up Coalesced.
type CoalescedOption = coalesce.Option

// GiveUp is a report of changes that were accepted and will not reach the store.
type GiveUp = coalesce.GiveUp

// Coalesced merges the writes of a session that overlap, so that they reach the store
// as few commits. SetSession returns when its change is in the store (law 7): while a
// commit of a session is under way, later changes of it join into one next commit, and
// each caller waits for the one that holds its own. Commits of different sessions that
// are due together go to redisstore in one pipeline. WriteBehind delays commits instead.
//
// The caller's cancellation ends its waiting, never the commit. RemoveAll is never
// delayed, and annuls what waits. Slides of the expiry are rare: each, as each commit,
// sets a tenth more than the ttl, and those that come before that tenth is used up cost
// nothing (SlideEvery); a close that changed nothing is a slide.
//
// On a direct store the Set, SetMap and Remove calls of one request go to the store
// together, when the request closes its session or 10 ms after the first of them.
//
// Flush and Close of the chain wait for the commits under way.
func Coalesced(opts ...CoalescedOption) Decorator {
	return func(inner gsession.Storage) gsession.Storage { return coalesce.New(inner, opts...) }
}

// WriteTimeout is how long a caller waits for its commit at most, and the store for
// what it was given, if it heeds its context; 5 s unless set.
func WriteTimeout(d time.Duration) CoalescedOption {
	if d <= 0 {
		panic(fmt.Sprintf("strata: layer.WriteTimeout(%v) leaves no time to write; pass a positive duration", d))
	}
	return func(o *coalesce.Options) { o.WriteTimeout = d }
}

// WriteBehind has SetSession return at once. Changes are merged and committed
// within the interval, up to an eighth of it and 25 ms sooner (of an interval above 25 s, a
// thousandth), together with what else is due by then, and at once when three quarters of
// MaxPending or MaxPendingBytes are reached; a session that begins is committed without delay. Reads of
// this node see the changes, other nodes when they are committed.
//
// A commit that fails is tried again, after 25 ms at first and 2 s at most, until the
// session would have expired (a ttl of 0 never does); where several sessions fail in a row, one of
// the store's node is tried each 250 ms until one succeeds. At the end, or when another node has removed the session, the
// changes are given up, reported to OnGiveUp and logged. Values that the store can't
// keep are still refused with an error, where it is known what the store makes of
// values: redisstore and GoFrame's own snapshot stores.
//
// If the process dies, what is pending is lost without a Journal. The chain's Flush
// returns when all that was pending is in the store; its Close does so within its
// context's deadline, and says how many changes it could not deliver: those are given up
// without a Journal.
func WriteBehind(interval time.Duration) CoalescedOption {
	if interval <= 0 {
		panic(fmt.Sprintf("strata: layer.WriteBehind(%v) delays nothing; pass a positive interval, or leave it out to write synchronously", interval))
	}
	return func(o *coalesce.Options) { o.WriteBehind = interval }
}

// MaxPending bounds the sessions whose changes aren't in the store yet, whether or not a
// caller waits for them, and the log-outs beside them; 100,000 unless set. At the bound
// SetSession waits for its turn, also if its context ends: writing behind for as long as it takes, else for
// WriteTimeout, and the error says then that nothing was written.
func MaxPending(n int) CoalescedOption {
	if n <= 0 {
		panic(fmt.Sprintf("strata: layer.MaxPending(%d) has no room for a change; pass a positive number of sessions", n))
	}
	return func(o *coalesce.Options) { o.MaxPending = n }
}

// MaxPendingBytes bounds the memory that pending changes take, in bytes, about right;
// 64 MiB unless set. At the bound SetSession waits as with MaxPending. A change that is
// larger than all of it waits until nothing else is pending.
func MaxPendingBytes(n int64) CoalescedOption {
	if n <= 0 {
		panic(fmt.Sprintf("strata: layer.MaxPendingBytes(%d) has no room for a change; pass a positive number of bytes", n))
	}
	return func(o *coalesce.Options) { o.MaxPendingBytes = n }
}

// OnGiveUp is called with changes that were accepted and can't be delivered, one call at a
// time, from a goroutine of its own; of more than 64 that wait the later ones are put together.
// They are logged as well. Close called from it is refused.
func OnGiveUp(report func(GiveUp)) CoalescedOption {
	if report == nil {
		panic("strata: layer.OnGiveUp needs a function; leave the option out to have give-ups in the log only")
	}
	return func(o *coalesce.Options) { o.OnGiveUp = report }
}

// Journal keeps what is pending in a directory, so that it survives the process and a
// power loss: SetSession returns when its change is on disk, many callers sharing one
// sync. New and Chain open it, and New returns an error where it can't be. The changes in it are
// pending again: they go to the store, and reads show them. After any crash a change that was accepted is in
// the store or reported to OnGiveUp; a session that has been removed stays so, and keys
// that the store has got since are left, as they are newer.
//
// The store below has to compare what it holds and write in one step, as redisstore does;
// over any other Chain panics. The directory belongs to one process, and holds what sessions
// hold, readable by its user only. Where it can't be written, SetSession waits for the store,
// and Flush and Close return the error. A log-out is off the disk when RemoveAll returns.
func Journal(dir string) CoalescedOption {
	if dir == "" {
		panic("strata: layer.Journal needs a directory; pass one that outlives the process and that no other process uses")
	}
	return func(o *coalesce.Options) { o.Journal = dir }
}

// SlideEvery is the part of a session's ttl, 0 to 1, for which its expiry isn't slid
// again; 0.1 unless set. Slides and commits set so much more than the ttl: a session in use never
// expires early, and an idle one outlives its ttl by no more than that part. 0 slides
// with every request.
func SlideEvery(fraction float64) CoalescedOption {
	if !(fraction >= 0 && fraction <= 1) {
		panic(fmt.Sprintf("strata: layer.SlideEvery(%v) is no part of a ttl; pass 0 to 1, or leave it out for 0.1", fraction))
	}
	return func(o *coalesce.Options) { o.SlideEvery = fraction }
}

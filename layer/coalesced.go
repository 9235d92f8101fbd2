package layer

import (
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/coalesce"
)

// CoalescedOption sets up Coalesced.
type CoalescedOption = coalesce.Option

// GiveUp is a report of changes that were accepted and will not reach the store: how many Changes, after how
// many Attempts, their Age since the first of them was accepted, and the Cause, an error that names no session.
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
// The calls of a direct store, such as GoFrame's RedisHashTable, are passed on as they are: nothing of it
// is merged or delayed, which Advice says. Snapshots right on the store makes it one of whole sessions.
//
// Flush and Close of the chain wait for the commits under way.
func Coalesced(opts ...CoalescedOption) Decorator {
	return func(inner gsession.Storage) gsession.Storage { return coalesce.New(inner, opts...) }
}

// WriteTimeout is how long a caller waits for its commit, or for the journal, at most. It is also the deadline of the
// store's context; 5 s unless set.
func WriteTimeout(d time.Duration) CoalescedOption {
	if d <= 0 {
		panic(fmt.Sprintf("strata: layer.WriteTimeout(%v) leaves no time to write; pass a positive duration", d))
	}
	return func(o *coalesce.Options) { o.WriteTimeout = d }
}

// WriteBehind has SetSession return at once. Changes are merged and committed within the interval. Changes
// that are due within an eighth of it (25 ms at most, or a thousandth of an interval above 25 s) go together,
// and all go at once when three quarters of MaxPending or MaxPendingBytes are reached. A session that begins
// is committed without delay. Reads of this node see the changes at once, other nodes when they are
// committed.
//
// A commit that fails is tried again, after 25 ms at first and 2 s at most, until the session would
// have expired (a ttl of 0 never does). If several sessions of one of the store's nodes fail in a row,
// one of them is tried each 250 ms until one succeeds. At the end, or when another node has removed the
// session, the changes are given up, reported to OnGiveUp and logged. A value that the store can't keep
// is still refused with an error, over redisstore and GoFrame's own snapshot stores. Over a direct store nothing is
// delayed, see Coalesced, and over RedisHashTable with Snapshots, or a store of your
// own that is no tiers.Previewer, only what sets texts.
//
// If the process dies, pending changes are lost without a Journal. The chain's Flush returns when all
// pending changes are in the store. Its Close does so within its context's deadline, and its error says
// how many changes it could not deliver: without a Journal those are given up.
func WriteBehind(interval time.Duration) CoalescedOption {
	if interval <= 0 {
		panic(fmt.Sprintf("strata: layer.WriteBehind(%v) delays nothing; pass a positive interval, or leave it out to write synchronously", interval))
	}
	return func(o *coalesce.Options) { o.WriteBehind = interval }
}

// MaxPending bounds the sessions whose changes aren't in the store yet, those with a caller that waits
// included, and separately the log-outs; 100,000 unless set. At the bound SetSession waits for its turn, also if its
// context ends: writing behind for as long as it takes, else for WriteTimeout, and then the error says
// that nothing was written.
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

// OnGiveUp is called with changes that were accepted and can't be delivered, one call at a time, from a
// goroutine of its own: at once, and then each ten seconds at most with all that has come meanwhile, the rest when
// the chain is closed. They are logged as well. Close called from it is refused.
func OnGiveUp(report func(GiveUp)) CoalescedOption {
	if report == nil {
		panic("strata: layer.OnGiveUp needs a function; leave the option out to have give-ups in the log only")
	}
	return func(o *coalesce.Options) { o.OnGiveUp = report }
}

// Journal keeps what is pending in a directory, so that it survives the process and a
// power loss: SetSession returns when its change is on disk, many callers sharing one
// sync. New and Chain open it; New returns an error if it can't be opened. The changes in it are
// pending again: they go to the store, and reads show them. After any crash a change that was accepted is
// in the store or reported to OnGiveUp; a session that has been removed stays removed, and keys that
// were written to the store since are left, as they are newer.
//
// The store below has to compare what it holds and write in one step, as redisstore does;
// over any other Chain panics. The directory belongs to one process, and holds data of sessions,
// readable by its user only. If it can't be written, SetSession waits for the store, for WriteTimeout at most, and Flush and Close
// return the error. A log-out is off the disk when RemoveAll returns.
func Journal(dir string) CoalescedOption {
	if dir == "" {
		panic("strata: layer.Journal needs a directory; pass one that outlives the process and that no other process uses")
	}
	return func(o *coalesce.Options) { o.Journal = dir }
}

// SlideEvery is the part of a session's ttl, 0 to 1, in which its expiry is slid once; 0.1 unless set.
// Slides and commits add that part to the ttl: a session in use never expires early, and an idle one
// outlives its ttl by that part at most. 0 slides with every request.
func SlideEvery(fraction float64) CoalescedOption {
	if !(fraction >= 0 && fraction <= 1) {
		panic(fmt.Sprintf("strata: layer.SlideEvery(%v) is no part of a ttl; pass 0 to 1, or leave it out for 0.1", fraction))
	}
	return func(o *coalesce.Options) { o.SlideEvery = fraction }
}

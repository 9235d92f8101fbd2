// Package layertest checks that a gsession.Storage keeps the ten laws of package layer, as testing/fstest does for file
// systems. It is for anyone's storage and anyone's decorator. A store is tested as it is, and as it will run:
//
//	func open(t *testing.T) gsession.Storage { return mystore.Open(t.TempDir()) }
//
//	func TestStore(t *testing.T) {
//		layertest.Run(t, open,
//			layertest.Except(5, "", "it takes whole sessions; a chain merges them"),
//			layertest.Except(6, "", "it takes whole sessions; a chain refuses late ones"),
//			layertest.Except(10, "dumps", "they show what it consists of; a chain ends them"))
//	}
//
//	func TestChain(t *testing.T) {
//		layertest.Run(t, func(t *testing.T) gsession.Storage {
//			chain := layer.Chain(open(t), layer.Coalesced(), layer.Local())
//			t.Cleanup(func() { _ = chain.Close(context.Background()) })
//			return chain
//		}, layertest.Bare(open), layertest.Revoked(layer.ErrRevoked))
//	}
//
// [Run] takes some ten seconds over memory and half a minute over a database; mostly it waits for sessions to expire. A failure
// names the law and the check, and says what a user would see, what to do, and which [Except] leaves the check out if the store
// can't keep it. The checks under load don't find a race each time: run them often.
//
// Some checks need more than one storage, and run if an option provides it. Those about the session's map are left out for a
// direct storage, whose maps are empty. go test -v says which were left out:
//
//   - [Bare]: the store without layers, to compare with
//   - [Nodes]: two storages on one store, as two processes have them
//   - [Wrapped]: the layers on a store that fails when the suite wants it to
//
// # What is checked
//
// By law and name, as Except takes them:
//
//	1 transparent
//		types, values, no session, style, replace, replace a new session, replace with the same map, nil
//		context, odd keys, values that encode differently, regenerate
//	2 isolated
//		requests, nested values, given maps, nested changes
//	3 read your writes
//		at once, under load
//	4 fresh
//		another node
//	5 no lost update
//		two requests, two that create, removed keys, many requests, two nodes, many requests on two nodes, a
//		lost reply, regenerate
//	6 no resurrection
//		running request, running request on another node, new id, new id on another node, second close,
//		second close on another node, second close after a refusal, new log-in, same log-in again, log-out
//		during a change of id, a lost reply, removal that failed, log-in by the same request, under load,
//		under load on two nodes, nothing is left
//	7 no silent loss
//		cancelled callers, failing store, panicking store, values that can't be saved, refused before the
//		store is written, refused or readable, panicking values, reading strange ids, writing strange ids,
//		second close, close of the storage
//	8 time to live
//		ends, in use, shortened, no time to live, odd times
//	9 bounded
//		goroutines, after close, close under load
//	10 private
//		error texts, the store's texts, dumps
package layertest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
)

// law is one of the ten, with its checks.
type law struct {
	number int
	name   string
	remedy string // what the author of a storage does that breaks it
	checks []check
}

// check tests one consequence of a law.
type check struct {
	name    string
	symptom string // what a user sees when it fails
	needs   need   // without which it isn't run
	run     func(e *env) error
}

// need is what a check needs of a storage beside open: options, and that maps hold its sessions.
type need uint8

const (
	needsNodes need = 1 << iota
	needsBare
	needsWrapped
	needsMaps // of a direct store they are empty: each call is a write of its own, of text

	nothing need = 0
)

// laws returns all laws, in order.
func laws() []law {
	return []law{
		{1, "transparent", "Return the values, Go types, nil and errors that the store returns. " +
			"A map that a program made itself replaces the session.", transparent},
		{2, "isolated", "Copy maps and lists, nested ones too, as they come in and as they go out, or keep encoded bytes; " +
			"layer.Chain(storage) copies.", isolated},
		{3, "read your writes", "Before a write returns, replace or drop each copy of the session in memory, " +
			"and let no read that began before put an old one back.", readYourWrites},
		{4, "fresh", "Notify other nodes of each write, or serve a copy for a bounded time and name that with MaxStale.", fresh},
		{5, "no lost update", "Apply only what the request has changed to what the store holds, in one step; " +
			"layer.Chain(storage) does so within a process.", noLostUpdate},
		{6, "no resurrection", "Refuse the write of a session that the request had loaded and that is gone, and leave nothing of it; " +
			"layer.Chain(storage) does so within a process.", noResurrection},
		{7, "no silent loss", "Return the store's errors, finish a write whose caller's context has ended, " +
			"and encode everything before the first write.", noSilentLoss},
		{8, "time to live", "Keep an expiry for each session, set it in SetSession and UpdateTTL, and return no session after it. " +
			"If the store rounds it, name the step with Precision.", timeToLive},
		{9, "bounded", "Have Close(context.Context) error end all goroutines; after it, read and write the store itself.", bounded},
		{10, "private", "Keep ids, keys and values out of error texts, and out of what fmt and JSON show of the storage; " +
			"layer.Chain(storage) does so.", private},
	}
}

// Run checks every law in a subtest of its own. open returns a storage on an empty store; it is called for each check,
// and cleans up with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) gsession.Storage, opts ...Option) {
	t.Helper()
	config := newConfig(open, opts)
	for _, l := range laws() {
		t.Run(fmt.Sprintf("%d %s", l.number, l.name), func(t *testing.T) {
			for _, c := range l.checks {
				t.Run(c.name, func(t *testing.T) {
					if why, ok := config.exception(l.number, c.name); ok {
						t.Logf("excepted: %s", why)
						return
					}
					err := c.verify(t, config)
					if lacks := (lacking{}); errors.As(err, &lacks) {
						t.Logf("not checked: it needs %s", lacks.what)
					} else if err != nil {
						t.Error(l.report(c, err))
					}
				})
			}
		})
	}
}

// report is a failure's text.
func (l law) report(c check, err error) string {
	return fmt.Sprintf("law %d, %s: %v\nA user sees: %s\nWhat to do: %s\nIf the store can't keep it: layertest.Except(%d, %q, \"why\")",
		l.number, l.name, err, c.symptom, l.remedy, l.number, c.name)
}

// checkTimeout ends a check that hangs. A busy machine takes minutes for one of those under load.
const checkTimeout = 10 * time.Minute

// lacking is the error of a check that can't be run.
type lacking struct{ what string }

func (l lacking) Error() string { return l.what + " is missing" }

func (c check) verify(t *testing.T, config *config) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	e := &env{T: t, ctx: ctx, config: config}
	return caught(func() error {
		switch {
		case c.needs&needsNodes != 0 && e.nodes == nil:
			return lacking{"layertest.Nodes"}
		case c.needs&needsBare != 0 && e.bare == nil:
			return lacking{"layertest.Bare"}
		case c.needs&needsWrapped != 0 && e.wrapped == nil:
			return lacking{"layertest.Wrapped"}
		case c.needs&needsMaps != 0 && e.direct():
			return lacking{"a storage that isn't direct"}
		}
		return c.run(e)
	})
}

// caught returns f's error, also one with which it ended itself, or that it panicked, and where.
func caught(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p.error
		default:
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

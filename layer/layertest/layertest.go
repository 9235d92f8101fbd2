// Package layertest checks that a gsession.Storage keeps the ten laws of package
// layer. It is for anyone's storage and anyone's decorator, as testing/fstest is for
// file systems:
//
//	layertest.Run(t, func(t *testing.T) gsession.Storage {
//		return layer.Chain(openStore(t), myDecorator)
//	})
//
// Name a law that a store makes impossible with Except; it stays visible in the test's output. Some
// checks need more than one storage and run if an option provides it: Nodes for two processes on one
// store, Bare for the store without layers, Wrapped for a store that fails.
//
// The suite works through gsession's own Session as well as through the storage. The checks under
// load don't find a race each time: run them often.
//
// # What is checked
//
// [Laws] has, for each check, the symptom that a user sees, and the option that it needs.
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
	"slices"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
)

// Law is one of the ten, with its checks.
type Law struct {
	Number int
	Name   string
	Checks []Check
}

// Check tests one consequence of a law.
type Check struct {
	Name        string
	Explanation string // what a user sees when it fails
	Needs       Need   // what Run must have been given
	run         func(e *env) error
}

// Need is the option without which a check isn't run.
type Need uint8

// The needs, each with the option that provides it.
const (
	Nothing      Need = iota
	NeedsNodes        // Nodes
	NeedsBare         // Bare
	NeedsWrapped      // Wrapped
)

// Laws returns all laws, in order. The caller may change them, to leave checks out for one.
func Laws() []Law {
	return []Law{
		{1, "transparent", slices.Clone(transparent)},
		{2, "isolated", slices.Clone(isolated)},
		{3, "read your writes", slices.Clone(readYourWrites)},
		{4, "fresh", slices.Clone(fresh)},
		{5, "no lost update", slices.Clone(noLostUpdate)},
		{6, "no resurrection", slices.Clone(noResurrection)},
		{7, "no silent loss", slices.Clone(noSilentLoss)},
		{8, "time to live", slices.Clone(timeToLive)},
		{9, "bounded", slices.Clone(bounded)},
		{10, "private", slices.Clone(private)},
	}
}

// Run checks every law in a subtest of its own. open returns a storage on a store of
// its own; it is called for each check, and cleans up with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) gsession.Storage, opts ...Option) {
	t.Helper()
	config := newConfig(open, opts)
	for _, law := range Laws() {
		t.Run(fmt.Sprintf("%d %s", law.Number, law.Name), func(t *testing.T) {
			for _, check := range law.Checks {
				t.Run(check.Name, func(t *testing.T) {
					if why, ok := config.exception(law.Number, check.Name); ok {
						t.Logf("excepted: %s", why)
						return
					}
					switch err := check.verify(t, config); {
					case errors.Is(err, errUnavailable):
						t.Log("not checked: no option provides what it needs")
					case err != nil:
						t.Errorf("law %d, %s: %v\n%s", law.Number, law.Name, err, check.Explanation)
					}
				})
			}
		})
	}
}

// checkTimeout ends a check that hangs. A busy machine takes minutes for one of those under load.
const checkTimeout = 10 * time.Minute

// Verify checks one law and returns its breaches, without those that Except names. With it a test can
// expect that a storage breaks a law; Run would fail the test.
func Verify(t *testing.T, law Law, open func(t *testing.T) gsession.Storage, opts ...Option) error {
	t.Helper()
	config := newConfig(open, opts)
	var errs []error
	for _, check := range law.Checks {
		if _, ok := config.exception(law.Number, check.Name); ok {
			continue
		}
		if err := check.verify(t, config); err != nil && !errors.Is(err, errUnavailable) {
			errs = append(errs, fmt.Errorf("%s: %w", check.Name, err))
		}
	}
	return errors.Join(errs...)
}

var errUnavailable = errors.New("not available")

func (c Check) verify(t *testing.T, config *config) (err error) {
	switch {
	case c.Needs == NeedsNodes && config.nodes == nil,
		c.Needs == NeedsBare && config.bare == nil,
		c.Needs == NeedsWrapped && config.wrapped == nil:
		return errUnavailable
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p.error
		default:
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return c.run(&env{T: t, ctx: ctx, config: config})
}

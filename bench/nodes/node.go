package main

import (
	"bufio"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	_ "github.com/gogf/gf/contrib/nosql/redis/v2" // lets gredis.New make a client
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// nodeConfig is the environment variable that makes this program a node.
const nodeConfig = "STRATA_NODES_CONFIG"

// replyFD is where a node replies: the first of exec.Cmd.ExtraFiles. All of the process may
// write to its standard output.
const replyFD = 3

// node is one process that serves sessions. All fields are set at the start; what its
// workers change is their own.
type node struct {
	Config
	slots   *Slots
	chain   *layer.Stack
	manager *gsession.Manager
	load    *load // nil while none runs, as the next
	stalls  *meter
}

// serve is the whole life of a node process.
func serve(text string) error {
	n := &node{}
	if err := json.Unmarshal([]byte(text), &n.Config); err != nil {
		return err
	}
	err := checkSkew(n.Skew)
	if err != nil {
		return err
	}
	if n.slots, err = openSlots(n.SlotsFile, n.Slots); err != nil {
		return err
	}
	if run := map[string]func() (func(), error){modeBehind: n.behind, modePrincipals: n.principals}[n.Mode]; run != nil {
		end, err := run()
		if err != nil {
			return err
		}
		defer end()
		_, err = io.Copy(io.Discard, os.Stdin) // until it is ended or killed
		return err
	}
	if err = n.open(); err != nil {
		return err
	}
	asks := gob.NewDecoder(bufio.NewReader(os.Stdin))
	out := os.NewFile(replyFD, "answers")
	answers := gob.NewEncoder(out)
	for {
		var ask Ask
		if err = asks.Decode(&ask); errors.Is(err, io.EOF) || ask.What == askEnd {
			return n.close()
		} else if err != nil {
			return err
		}
		if err = answers.Encode(n.answer(ask)); err != nil {
			return err
		}
	}
}

func (n *node) open() error {
	store := n.store()
	// A node whose first watch takes long begins without invalidations: one bound for both.
	opts := []layer.LocalOption{layer.Audited(n.Audit), layer.MaxStale(lease)}
	if n.Mode == modeBroken {
		store = struct{ tiers.Storage }{store} // nobody finds the invalidations behind it
		opts = append(opts, layer.Invalidation(liar{}))
	}
	writes := []layer.CoalescedOption{layer.WriteTimeout(2 * time.Second)}
	if n.Mode == modePrincipals && writesBehind(n.Node) {
		writes = append(writes, layer.WriteBehind(behindInterval), layer.Journal(filepath.Join(n.Dir, "journal")))
	}
	decorators := []layer.Decorator{layer.Coalesced(writes...), layer.Local(opts...)}
	if n.Mode == modePrincipals {
		decorators = append(decorators, layer.Indexed(whose, layer.Limit(personLimit, layer.EndOldest)))
	}
	n.chain = layer.Chain(store, append(decorators, layer.Traced())...)
	n.manager = gsession.New(ttl, n.chain)
	return nil
}

func (n *node) store() tiers.Storage {
	return redisstore.New(n.Server.client(), redisstore.Prefix(prefix), redisstore.WatchLease(lease))
}

func (n *node) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return n.chain.Close(ctx)
}

// audits are the comparisons of hits with the store so far.
func (n *node) audits() (a Audits) {
	if tier, ok := layer.As[*local.Storage](n.chain); ok {
		t := tier.Tally()
		a = Audits{t.Total(telemetry.AuditSame), t.Total(telemetry.AuditChanged), t.Total(telemetry.AuditDiffers)}
	}
	return a
}

// liar vouches for ever, and never notifies of anything.
type liar struct{}

func (liar) Subscribe(l tiers.InvalidationListener) (stop func()) {
	l.ValidUntil(time.Now().Add(ttl))
	return func() {}
}

func (n *node) answer(ask Ask) (answer Answer) {
	var err error
	switch ask.What {
	case askBegin:
		answer.Records, err = n.begin(ask.Round, ask.Nodes)
	case askRun:
		n.load, n.stalls = n.start(ask.Round, ask.Nodes), n.meter()
	case askHalt:
		answer = n.load.halt()
		answer.Stalls = n.stalls.halt()
		n.load, n.stalls = nil, nil
	case askRead:
		answer.Records, err = n.readAll(ask.IDs)
		answer.Audits = n.audits()
	case askMeasure:
		err = n.measure(ask)
	case askOwn:
		answer.Misses, err = n.own(ask)
	case askWrite:
		answer.Records, err = n.write(ask)
	case askFollow:
		answer.Records, err = n.follow(ask)
	default:
		err = fmt.Errorf("a node doesn't know %q", ask.What)
	}
	if err != nil {
		answer.Err = err.Error()
	}
	return answer
}

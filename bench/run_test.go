package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"go/version"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/report"
	"github.com/gf-strata/strata/bench/worker"
)

// broken wraps the storage of a peer in one that is fast by being wrong.
func broken(name, peer string, claims peers.Subject, change func(gsession.Storage) gsession.Storage) peers.Subject {
	for _, s := range peers.All() {
		if s.Name != peer {
			continue
		}
		open := s.Open
		s.Name, s.Isolated, s.Strata = name, claims.Isolated, claims.Strata
		s.Open = func(e peers.Env) (peers.Node, error) {
			node, err := open(e)
			if err != nil || change == nil {
				return node, err
			}
			storage := change(node.Storage())
			return changed{node, storage, gsession.New(e.TTL, storage)}, nil
		}
		return s
	}
	panic("no peer " + peer)
}

type changed struct {
	peers.Node
	storage gsession.Storage
	manager *gsession.Manager
}

func (c changed) Storage() gsession.Storage { return c.storage }
func (c changed) Begin(ctx context.Context, id string) peers.Request {
	return peers.OfSession(c.manager.New(ctx, id))
}

// neighbour returns another session's data for every sixth session.
type neighbour struct{ gsession.Storage }

func (s neighbour) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	ids := load.IDs(1, 12)
	if id == ids[11] {
		id = ids[5]
	}
	return s.Storage.GetSession(ctx, id, ttl)
}

var brokenSubjects = []peers.Subject{
	broken("shares its maps", "StorageMemory", peers.Subject{Isolated: true}, nil),
	broken("returns a neighbour", "StorageMemory", peers.Subject{}, func(s gsession.Storage) gsession.Storage { return neighbour{s} }),
	broken("loses updates", "StorageRedis", peers.Subject{Isolated: true, Strata: true}, nil),
}

func TestMain(m *testing.M) {
	worker.Main(append(peers.All(), brokenSubjects...))
	os.Exit(m.Run())
}

func TestWrongSubjectsFailTheRun(t *testing.T) {
	for _, subject := range brokenSubjects {
		t.Run(subject.Name, func(t *testing.T) {
			_, err := Run(context.Background(), Options{Quick: true, Only: "read", Subjects: []peers.Subject{subject}})
			var wrong load.Wrong
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), subject.Name) {
				t.Errorf("Run returns %v, want a wrong answer of %q", err, subject.Name)
			}
		})
	}
}

func TestTheQuickRunEndToEnd(t *testing.T) {
	dir := t.TempDir()
	run, err := Run(context.Background(), Options{Quick: true, Subjects: peers.All(), Module: "goredis923"})
	if err != nil {
		t.Fatal(err)
	}
	subjects := peers.All()
	if len(run.Missing) == 0 {
		subjects = append(subjects, peers.GoRedisCache)
	}
	var text bytes.Buffer
	if err = errors.Join(run.Text(&text), run.Write(dir)); err != nil {
		t.Fatal(err)
	}
	for _, g := range plan(quick) {
		for _, w := range g.workloads {
			measured, ok := run.Workload(w.name)
			if !ok {
				t.Errorf("no workload %s", w.name)
			}
			for _, s := range subjects {
				e, ok := measured.Entry(s.Name)
				if ok != w.takes(s) {
					t.Errorf("%s: %s has an entry: %t, want %t", w.name, s.Name, ok, w.takes(s))
				}
				if ok && (e.Requests == 0 || len(e.Rounds["perSecond"]) != g.least || e.Figures["p50"].Median <= 0 || e.Figures["cpu"].Median <= 0) {
					t.Errorf("%s: %s has no figures: %+v", w.name, s.Name, e.Figures)
				}
				if ok && s.Strata && e.Stale != 0 {
					t.Errorf("%s: %d results of %s are stale", w.name, e.Stale, s.Name)
				}
			}
		}
	}
	if zipf, _ := run.Workload("zipf-100"); true {
		if e, _ := zipf.Entry("StorageRedis"); e.Figures["gets"].Median < 0.99 || e.Figures["gets"].Median > 1.01 {
			t.Errorf("StorageRedis makes %v GETs a request, want 1", e.Figures["gets"].Median)
		}
	}
	for _, m := range run.Memory {
		if m.Session <= 0 || m.Cached <= 0 || m.Payload < 200 {
			t.Errorf("the memory of %s is %+v", m.Subject, m.Memory)
		}
	}
	for _, g := range run.Goals {
		if !g.Measured {
			t.Errorf("not measured: %s", g.Says)
		}
	}
	content, err := os.ReadFile(filepath.Join(dir, "latest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var again report.Run
	if err = json.Unmarshal(content, &again); err != nil || len(again.Workloads) != len(run.Workloads) {
		t.Errorf("latest.json holds %d workloads, %v", len(again.Workloads), err)
	}
	if len(run.Parts) != 2+len(plan(quick)) || run.Machine.Commit == "" || run.Machine.Kernel == "unknown" {
		t.Errorf("the run reports its parts %v and its machine %+v", run.Parts, run.Machine)
	}
	if far, _ := run.Workload("link-95"); !strings.Contains(far.Setup, "round-trip time of") {
		t.Errorf("the link's round-trip time isn't said: %s", far.Setup)
	}
	if zipf, _ := run.Workload("zipf-95"); zipf.Distinct == 0 {
		t.Error("nobody counts the distinct sessions")
	}
	for _, name := range []string{run.When.Format("2006-01-02.html"), "README.md", "read.svg"} {
		if content, err = os.ReadFile(filepath.Join(dir, name)); err != nil || len(content) < 1000 {
			t.Errorf("%s has %d bytes, %v", name, len(content), err)
		}
	}
	for _, s := range peers.All() {
		if !strings.Contains(text.String(), s.Name) {
			t.Errorf("the table doesn't show %s", s.Name)
		}
	}
}

func TestAnUnknownNameIsSaid(t *testing.T) {
	if _, err := Run(context.Background(), Options{Quick: true, Only: "nothing"}); !errors.Is(err, errNothing) {
		t.Errorf("Run returns %v, want %v", err, errNothing)
	}
}

func TestAModuleThatDoesNotBuildFailsTheRunWhereItShould(t *testing.T) {
	run, err := Run(context.Background(), Options{Quick: true, Only: "read", Subjects: peers.All()[:1], Module: t.TempDir()})
	if version.Compare(runtime.Version(), newerGo) >= 0 {
		if err == nil {
			t.Error("a module that doesn't build is left out in silence")
		}
		return
	}
	if err != nil || len(run.Missing) != 1 || !strings.Contains(run.Missing[0], newerGo) {
		t.Errorf("what is missing: %q, %v", run.Missing, err)
	}
}

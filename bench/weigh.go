package main

import (
	"context"
	"fmt"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/report"
	"github.com/gf-strata/strata/bench/worker"
	"github.com/gf-strata/strata/internal/redistest"
)

// memorySteps is how many steps of the progress bar a full cache is worth.
const memorySteps = 25

// weigh fills every cache from one server, each in a process of its own that holds
// nothing else.
func weigh(ctx context.Context, o Options, s scale, run *report.Run) error {
	server, err := redistest.Run()
	if err != nil {
		return err
	}
	defer server.Close()
	job := worker.Job{Op: load.Hit, Shape: load.TenKeys, Series: 4, Sessions: s.memory, Workers: 4 * s.workers}
	env := peers.Env{Addr: server.Addr(), TTL: peers.TTL, Direct: server.Addr(), CacheTTL: peers.TTL,
		CacheBytes: int64(s.memory) * 5 * int64(load.TenKeys.JSONSize()), CacheEntries: s.memory * 5 / 4}
	o.Progress.at("Full caches", "redis-server")
	if err = peers.SeedJSON(env, peers.WrittenTTL)(ctx, load.IDs(job.Series, job.Sessions), job.Shape.Data); err != nil {
		return err
	}
	for _, subject := range o.Subjects {
		if !weighed(subject) {
			continue
		}
		o.Progress.at("Full caches, "+subject.Name, fmt.Sprint(s.memory, " sessions"))
		f := &fleet{}
		stop := context.AfterFunc(ctx, f.interrupt)
		p, err := f.start(subject.Name, o.program(subject))
		var answer worker.Answer
		if err == nil {
			answer, err = p.ask(worker.Ask{What: worker.AskMemory, Subject: subject.Name, Env: env, Job: job, Duration: s.memoryRound})
		}
		f.close()
		stop()
		if err != nil {
			return fmt.Errorf("memory: %w", err)
		}
		run.Memory = append(run.Memory, report.Weight{Subject: subject.Name, Memory: answer.Memory})
		o.Progress.step(memorySteps)
	}
	return nil
}

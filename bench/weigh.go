package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

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
	env := peers.Env{Addr: server.Addr(), TTL: peers.TTL, Direct: server.Addr(), CacheTTL: peers.TTL}
	o.Progress.at("Full caches", "redis-server")
	if o.Cached == 0 && !o.Quick {
		if s.memory, err = fitting(ctx, s, env); err != nil {
			return err
		}
	}
	job := worker.Job{Op: load.Hit, Shape: load.TenKeys, Series: 4, Sessions: s.memory, Workers: 4 * s.workers}
	// A subject may count up to five times the JSON as its bytes.
	env.CacheBytes, env.CacheEntries = int64(s.memory)*5*int64(load.TenKeys.JSONSize()), s.memory*5/4
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

// A cache is filled by one request a session, which takes dearer times what a bare read
// takes, in the mean of all subjects.
const (
	sample = 50_000
	dearer = 2.3
)

// fitting is how many sessions can fill all caches in the time that they may take: on a
// machine that is slow, or busy, they are fewer.
func fitting(ctx context.Context, s scale, env peers.Env) (int, error) {
	ids := load.IDs(5, sample)
	if err := peers.SeedJSON(env, peers.WrittenTTL)(ctx, ids, load.TenKeys.Data); err != nil {
		return 0, err
	}
	client := redis.NewClient(&redis.Options{Addr: env.Direct})
	defer func() { _ = client.Close() }()
	var (
		group sync.WaitGroup
		errs  = make([]error, s.workers)
		began = time.Now()
	)
	for w := range s.workers {
		group.Go(func() {
			for n := w; n < len(ids) && errs[w] == nil; n += s.workers {
				errs[w] = client.Get(ctx, peers.Prefix+ids[n]).Err()
			}
		})
	}
	group.Wait()
	return s.fitting(time.Since(began)), errors.Join(errs...)
}

// fitting is that many, where a sample took so long to be read.
func (s scale) fitting(took time.Duration) int {
	const step = 50_000
	fill := time.Duration(dearer * float64(took) / sample)
	return max(step, min(s.memory, int(s.memoryTakes/max(fill, 1))/step*step))
}

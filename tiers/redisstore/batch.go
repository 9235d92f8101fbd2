package redisstore

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

var (
	_ tiers.Batcher  = (*Storage)(nil)
	_ tiers.Reloader = (*Storage)(nil)
)

// CommitAll sends the first attempt of every commit in one pipeline, one for each
// node of a cluster. A commit that loses against another node's write goes on alone,
// as one does that only slides an expiry.
func (s *Storage) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	m := s.measure()
	defer m.end(ctx, telemetry.CommitAll)
	results := s.commitAll(ctx, m, commits)
	m.done(tiers.BatchFailure(results, func(r tiers.Committed) error { return r.Err }))
	return results
}

func (s *Storage) commitAll(ctx context.Context, m *measured, commits []tiers.Commit) []tiers.Committed {
	commits = slices.Clone(commits)
	results := make([]tiers.Committed, len(commits))
	var (
		attempts = make([]*attempt, 0, len(commits))
		alone    []int
	)
	for n, c := range commits {
		current, version, ok := guess(c.Delta.Base())
		if c.Delta.Empty() || c.Delta.NeedsCurrent() || !ok {
			alone = append(alone, n)
			continue
		}
		var err error
		if c.Delta, err = c.Delta.Previewed(tiers.PreviewJSON); err != nil {
			results[n].Err = tiers.NotApplied(err)
			continue
		}
		commits[n] = c // an attempt that follows writes the same
		a, err := s.attempt(n, c, current, version)
		if a == nil {
			results[n].Err = err
			continue
		}
		attempts = append(attempts, a)
	}
	for faults := 0; len(attempts) > 0; {
		s.sendAll(ctx, m, attempts)
		var again []*attempt
		for _, a := range attempts {
			r := &results[a.n]
			switch {
			case a.err == nil && a.did.done:
				r.Snapshot, r.Err = written(a.next, a.content, a.before, a.ms), a.conflict
				continue
			case a.err == nil, redis.HasErrorPrefix(a.write.Err(), "NOSCRIPT"): // another node has written
				alone = append(alone, a.n)
				continue
			case a.write.isUncertain(a.err):
				a.delta = a.delta.Conditional(a.current)
				commits[a.n].Delta = a.delta
			}
			switch {
			case !passes(a.err):
				r.Err = failed(a.delta, a.err)
			case a.delta.NeedsCurrent():
				alone = append(alone, a.n)
			default:
				again = append(again, a)
			}
		}
		attempts = again
		if faults++; len(attempts) > 0 && (faults > s.retries || !pause(ctx, faults)) {
			for _, a := range attempts {
				results[a.n].Err = failed(a.delta, a.err)
			}
			break
		}
	}
	for _, n := range alone {
		c := commits[n]
		results[n].Snapshot, results[n].Err = s.commit(ctx, m, c.ID, c.Delta, c.TTL)
	}
	return results
}

// sendAll sends the attempts in one pipeline, one for each node of a cluster, and notes what
// has come of each.
func (s *Storage) sendAll(ctx context.Context, m *measured, attempts []*attempt) {
	var commands []command
	for _, a := range attempts {
		a.write = newWrite(ctx, a.key, a.delta.Replaces(), a.version, a.content, a.ms)
		commands = append(commands, a.write)
	}
	before, ended := time.Now(), ctx.Err()
	if ended == nil {
		m.send()
		s.roundTrip(ctx, commands...)
	}
	for _, a := range attempts {
		a.before = before
		if a.err = fault.New(ctx, a.write.operation(), ended); ended == nil {
			a.did, a.err = a.write.outcome(ctx)
		}
	}
}

// LoadAll reads the sessions in one pipeline, one for each node of a cluster. What is
// still known isn't decoded again.
func (s *Storage) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	m := s.measure()
	defer m.end(ctx, telemetry.LoadAll)
	results := s.loadAll(ctx, m, loads)
	m.done(tiers.BatchFailure(results, func(r tiers.Reloaded) error { return r.Err }))
	return results
}

func (s *Storage) loadAll(ctx context.Context, m *measured, loads []tiers.Reload) []tiers.Reloaded {
	var (
		results   = make([]tiers.Reloaded, len(loads))
		questions = make([]question, len(loads))
		commands  []command
		failure   error
	)
	for n, l := range loads {
		key, err := s.key(l.ID)
		if results[n].Err = err; err == nil {
			questions[n] = ask(ctx, key)
			commands = append(commands, questions[n].pttl, questions[n].get)
		}
	}
	before := time.Now()
	if err := ctx.Err(); err == nil && len(commands) > 0 {
		m.send()
		s.roundTrip(ctx, commands...)
	} else if err != nil {
		failure = fault.New(ctx, "GET", err)
	}
	for n := range results {
		r := &results[n]
		if r.Err == nil {
			r.Err = failure
		}
		if r.Err != nil {
			continue
		}
		content, left, err := questions[n].answer(ctx)
		switch r.Err = err; {
		case err != nil || len(content) == 0:
		case left == pttlAbsent: // created between the two commands
			r.Read, r.Err = s.load(ctx, m, loads[n].ID)
		default:
			r.Read, r.Err = loaded(content, left, before, loads[n].Known)
		}
	}
	return results
}

// attempt is a commit as it is sent first: it guesses that the server still holds what the
// request was given.
type attempt struct {
	n        int
	delta    *tiers.Delta
	current  *tiers.Snapshot
	key      string
	version  string
	next     map[string]any
	content  []byte
	conflict error // after the write
	ms       int64

	before time.Time
	write  *write
	did    outcome
	err    error
}

// attempt is nil where there is nothing to send.
func (s *Storage) attempt(n int, c tiers.Commit, current *tiers.Snapshot, version string) (_ *attempt, err error) {
	a := attempt{n: n, delta: c.Delta, current: current, version: version}
	if a.key, err = s.key(c.ID); err != nil {
		return nil, failed(c.Delta, err)
	}
	if a.ms, err = millis(c.TTL); err != nil {
		return nil, failed(c.Delta, err)
	}
	if a.next, a.conflict = c.Delta.Apply(current); a.next == nil {
		return nil, a.conflict
	}
	if a.content, err = encodeFor(a.delta, a.next); err != nil {
		return nil, failed(c.Delta, err)
	}
	return &a, nil
}

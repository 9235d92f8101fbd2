package redisstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
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
	results := make([]tiers.Committed, len(commits))
	var (
		attempts = make([]attempt, 0, len(commits))
		alone    []int
		commands []command
	)
	for n, c := range commits {
		if c.Delta.Empty() {
			alone = append(alone, n)
			continue
		}
		a, err := s.attempt(c)
		if err != nil || a.content == nil {
			results[n].Err = err
			continue
		}
		a.n = n
		switch {
		case c.Delta.Whole():
			a.answer = redis.NewCmd(ctx, "set", a.key, a.content, "px", a.ms)
		case a.version == absent:
			a.answer = redis.NewCmd(ctx, "set", a.key, a.content, "px", a.ms, "nx")
		default:
			a.answer = redis.NewCmd(ctx, "evalsha", swapScript.Hash(), 1, a.key, hexOf(a.version), a.content, a.ms)
		}
		commands = append(commands, a.answer)
		attempts = append(attempts, a)
	}
	before := time.Now()
	if len(attempts) > 0 {
		if err := ctx.Err(); err != nil {
			for _, a := range attempts {
				results[a.n].Err = fault(ctx, "EVAL", err)
			}
			return results
		}
		m.send()
		s.roundTrip(ctx, commands...)
	}
	for _, a := range attempts {
		answer, err := a.answer.Result()
		_, found := answer.(string) // or SET's OK
		switch {
		case err == redis.Nil, redis.HasErrorPrefix(err, "NOSCRIPT"):
			alone = append(alone, a.n)
		case err != nil:
			results[a.n].Err = fault(ctx, "EVAL", err)
		case answer == int64(1), answer == "OK" && a.answer.Name() == "set":
			delta := commits[a.n].Delta
			results[a.n].Snapshot, results[a.n].Err = merged(delta.Base(), delta, a.next, a.content, before, a.ms)
		case found && a.answer.Name() != "set": // what another node wrote
			alone = append(alone, a.n)
		default:
			results[a.n].Err = fault(ctx, "EVAL", errReply)
		}
	}
	for _, n := range alone {
		c := commits[n]
		results[n].Snapshot, results[n].Err = s.commit(ctx, m, c.ID, c.Delta, c.TTL)
	}
	return results
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
		failure = fault(ctx, "GET", err)
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

// attempt is a commit as it is sent first: it guesses that the server still holds
// what the request was given. Without content there is nothing to write.
type attempt struct {
	n       int
	key     string
	version string
	next    map[string]any
	content []byte
	ms      int64
	answer  *redis.Cmd
}

func (s *Storage) attempt(c tiers.Commit) (a attempt, err error) {
	if a.key, err = s.key(c.ID); err != nil {
		return a, err
	}
	if a.ms, err = millis(c.TTL); err != nil {
		return a, err
	}
	if a.next, err = c.Delta.Apply(c.Delta.Base()); err != nil || a.next == nil {
		return a, err
	}
	a.version = versionOf(c.Delta.Base())
	a.content, err = encode(a.next)
	return a, err
}

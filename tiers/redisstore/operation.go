package redisstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
	"github.com/gf-strata/strata/tiers/redisstore/internal/pause"
)

// operation is one call of a Storage, and how long it takes from its first command: what never
// reaches the server isn't the server's time. Only its kind and the type of its error are
// reported.
//
// It belongs to the goroutine of its call.
type operation struct {
	*Storage
	began    time.Time
	started  bool
	returned bool
	err      error
}

// exchange sends the commands together, unless ctx has ended, which go-redis may not look at.
func (o *operation) exchange(ctx context.Context, name string, commands ...command) error {
	if err := ctx.Err(); err != nil {
		return fault.New(ctx, name, err)
	}
	o.starts()
	o.roundTrip(ctx, commands...)
	return nil
}

// starts is called before each command.
func (o *operation) starts() {
	if !o.started {
		o.started, o.began = true, o.meter.Begin()
	}
}

// done notes how the operation has ended. An end without it is a panic.
func (o *operation) done(err error) { o.returned, o.err = true, err }

func (o *operation) end(ctx context.Context, kind telemetry.Operation) {
	errorType := telemetry.TypePanic
	if o.returned {
		errorType = failure.ErrorType(o.err)
	}
	o.meter.End(ctx, o.began, kind, errorType)
}

func (o *operation) load(ctx context.Context, id string) (tiers.Read, error) {
	key, err := o.key(id)
	if err != nil {
		return tiers.Read{}, err
	}
	for tries := 0; ; tries++ {
		content, left, before, err := o.read(ctx, key)
		if err != nil || len(content) == 0 {
			return tiers.Read{}, err
		}
		if left == pttlAbsent && tries < 3 {
			continue // created between the two commands: its time isn't known yet
		}
		return loaded(content, left, before, nil)
	}
}

// read asks for a session, and returns also what time it has left, counted from before.
func (o *operation) read(ctx context.Context, key string) (content []byte, left int64, before time.Time, err error) {
	q := ask(ctx, key)
	before = time.Now()
	if err = o.exchange(ctx, "GET", q.pttl, q.get); err == nil {
		content, left, err = q.reply(ctx)
	}
	return content, left, before, err
}

func (o *operation) slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	key, err := o.key(id)
	if err != nil {
		return time.Time{}, err
	}
	ms, err := millis(ttl)
	if err != nil {
		return time.Time{}, err
	}
	cmd := expire(ctx, key, ms)
	before := time.Now()
	if err = o.exchange(ctx, "PEXPIRE", cmd); err != nil {
		return time.Time{}, err
	}
	held, err := yesOrNo(cmd)
	if err != nil || !held {
		return time.Time{}, fault.New(ctx, "PEXPIRE", err)
	}
	return after(before, ms), nil
}

// touch slides the expiry of a session that a request was given and hasn't changed,
// and finds out whether it is still there: a session without keys counts as gone.
func (o *operation) touch(ctx context.Context, key string, base *tiers.Snapshot, ms int64) error {
	expiry := expire(ctx, key, ms)
	head := redis.NewCmd(ctx, "getrange", key, 0, headBytes-1)
	if err := o.exchange(ctx, "PEXPIRE", expiry, head); err != nil {
		return err
	}
	if _, err := yesOrNo(expiry); err != nil {
		return fault.New(ctx, "PEXPIRE", err)
	}
	text, err := reply[string](head)
	if err != nil {
		return fault.New(ctx, "GETRANGE", err)
	}
	content := []byte(text)
	if base.Len() == 0 || len(content) == headBytes {
		return nil
	}
	current, err := decode(content)
	if err != nil {
		return err
	}
	if current == nil || current.Len() == 0 {
		return tiers.ErrRevoked
	}
	return nil
}

func (o *operation) remove(ctx context.Context, id string) error {
	key, err := o.key(id)
	if err != nil {
		return err
	}
	del := redis.NewCmd(ctx, "del", key)
	if err = o.exchange(ctx, "DEL", del); err != nil {
		return err
	}
	if _, err = yesOrNo(del); err != nil {
		return fault.New(ctx, "DEL", err)
	}
	o.face.Removed(id)
	return nil
}

func (o *operation) commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	key, err := o.key(id)
	if err != nil {
		return nil, failed(delta, err)
	}
	ms, err := millis(ttl)
	if err != nil {
		return nil, failed(delta, err)
	}
	if delta.Empty() {
		return nil, o.touch(ctx, key, delta.Base(), ms)
	}
	if delta, err = delta.Previewed(tiers.PreviewJSON); err != nil {
		return nil, tiers.NotApplied(err)
	}
	return o.merge(ctx, key, delta, ms)
}

// merge guesses that the server still holds what the request was given, and where it
// doesn't, applies the delta to what it does hold. An attempt whose fate isn't known makes
// the delta conditional; an error of one that has stayed as it was says that nothing was
// written.
func (o *operation) merge(ctx context.Context, key string, delta *tiers.Delta, ms int64) (*tiers.Snapshot, error) {
	current, version, ok := guess(delta.Base())
	for see, losses, faults := delta.NeedsCurrent() || !ok, 0, 0; ; {
		if see {
			var err error
			if current, version, err = o.see(ctx, key); err != nil {
				return nil, failed(delta, err)
			}
		}
		next, conflict := delta.Apply(current)
		if next == nil {
			return nil, conflict
		}
		content, err := encodeFor(delta, next)
		if err == nil {
			err = wait(ctx, losses)
		}
		if err != nil {
			return nil, failed(delta, err)
		}
		before := time.Now()
		did, w, err := o.send(ctx, key, delta.Replaces(), version, content, ms)
		switch {
		case err != nil:
			if w.isUncertain(err) {
				delta = delta.Conditional(current)
			}
			if faults++; faults > o.retries || !passes(err) || !pause.Before(ctx, faults) {
				return nil, failed(delta, err)
			}
			see = delta.NeedsCurrent()
		case did.done:
			return written(next, content, before, ms), conflict
		default:
			losses++
			if see = did.unknown; see {
				continue
			}
			var err error
			if current, version, err = held(did.found); err != nil {
				return nil, failed(delta, err)
			}
		}
	}
}

// see reads what the server holds.
func (o *operation) see(ctx context.Context, key string) (current *tiers.Snapshot, version string, err error) {
	content, _, _, err := o.read(ctx, key)
	if err != nil {
		return nil, "", err
	}
	return held(content)
}

// send has the server execute a write, in a transaction if it refuses scripts.
func (o *operation) send(ctx context.Context, key string, whole bool, version string, next []byte, ms int64) (outcome, *write, error) {
	w := newWrite(ctx, key, whole, version, next, ms)
	if w.isScript() && o.scriptless.Load() && ctx.Err() == nil {
		if did, sent, err := o.transact(ctx, key, version, next, ms); !sent.isRefused(err) {
			return did, sent, err
		}
		o.scriptless.Store(false) // the user's rights have changed
	}
	if err := o.exchange(ctx, w.operation(), w); err != nil {
		return outcome{}, w, err
	}
	if redis.HasErrorPrefix(w.Err(), "NOSCRIPT") {
		w = script(ctx, key, version, next, ms)
		o.roundTrip(ctx, w)
	}
	if w.isScript() && fault.IsRefusal(w.Err()) {
		if did, sent, err := o.transact(ctx, key, version, next, ms); !sent.isRefused(err) { // or else it is EVAL that should be allowed
			o.scriptless.Store(err == nil)
			return did, sent, err
		}
	}
	did, err := w.outcome(ctx)
	return did, w, err
}

func (o *operation) commitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	commits = slices.Clone(commits)
	results := make([]tiers.Committed, len(commits))
	var (
		attempts = make([]*attempt, 0, len(commits))
		alone    []int
	)
	for n, c := range commits {
		current, version, ok := guess(c.Delta.Base())
		if c.Delta.Empty() || c.Delta.NeedsCurrent() || !ok || o.scriptless.Load() && compares(c.Delta.Replaces(), version) {
			alone = append(alone, n)
			continue
		}
		var err error
		if c.Delta, err = c.Delta.Previewed(tiers.PreviewJSON); err != nil {
			results[n].Err = tiers.NotApplied(err)
			continue
		}
		commits[n] = c // an attempt that follows writes the same
		a, err := o.attempt(n, c, current, version)
		if a == nil {
			results[n].Err = err
			continue
		}
		attempts = append(attempts, a)
	}
	for faults := 0; len(attempts) > 0; {
		o.sendAll(ctx, attempts)
		var again []*attempt
		for _, a := range attempts {
			r := &results[a.n]
			switch {
			case a.err == nil && a.did.done:
				r.Snapshot, r.Err = written(a.next, a.content, a.before, a.ms), a.conflict
				continue
			case a.err == nil, redis.HasErrorPrefix(a.write.Err(), "NOSCRIPT"), // another node has written
				a.write.isScript() && fault.IsRefusal(a.err):
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
		if faults++; len(attempts) > 0 && (faults > o.retries || !pause.Before(ctx, faults)) {
			for _, a := range attempts {
				results[a.n].Err = failed(a.delta, a.err)
			}
			break
		}
	}
	for _, n := range alone {
		c := commits[n]
		results[n].Snapshot, results[n].Err = o.commit(ctx, c.ID, c.Delta, c.TTL)
	}
	return results
}

// sendAll sends the attempts in one pipeline, one for each node of a cluster, and notes what
// has come of each.
func (o *operation) sendAll(ctx context.Context, attempts []*attempt) {
	var commands []command
	for _, a := range attempts {
		a.write = newWrite(ctx, a.key, a.delta.Replaces(), a.version, a.content, a.ms)
		commands = append(commands, a.write)
	}
	before := time.Now()
	err := o.exchange(ctx, "SET", commands...)
	for _, a := range attempts {
		if a.before, a.err = before, err; err == nil {
			a.did, a.err = a.write.outcome(ctx)
		}
	}
}

func (o *operation) loadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	var (
		results   = make([]tiers.Reloaded, len(loads))
		questions = make([]question, len(loads))
		commands  []command
		failed    error
	)
	for n, l := range loads {
		key, err := o.key(l.ID)
		if results[n].Err = err; err == nil {
			questions[n] = ask(ctx, key)
			commands = append(commands, questions[n].pttl, questions[n].get)
		}
	}
	before := time.Now()
	if len(commands) > 0 {
		failed = o.exchange(ctx, "GET", commands...)
	}
	for n := range results {
		r := &results[n]
		if r.Err = cmp.Or(r.Err, failed); r.Err != nil {
			continue
		}
		content, left, err := questions[n].reply(ctx)
		switch r.Err = err; {
		case err != nil || len(content) == 0:
		case left == pttlAbsent: // created between the two commands
			r.Read, r.Err = o.load(ctx, loads[n].ID)
		default:
			r.Read, r.Err = loaded(content, left, before, loads[n].Known)
		}
	}
	return results
}

// attempt is nil where there is nothing to send.
func (o *operation) attempt(n int, c tiers.Commit, current *tiers.Snapshot, version string) (_ *attempt, err error) {
	a := attempt{n: n, delta: c.Delta, current: current, version: version}
	if a.key, err = o.key(c.ID); err != nil {
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

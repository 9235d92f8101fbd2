package redisstore

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
	"github.com/gf-strata/strata/tiers/redisstore/internal/pause"
)

// held is the session that a key holds, nil for none, and its version. An empty value and
// "null" are no session, yet they have a digest.
func held(content []byte) (current *tiers.Snapshot, version string, err error) {
	current, err = decode(content)
	return current, versionOf(content), err
}

func versionOf(content []byte) string {
	if content == nil {
		return absent
	}
	return digest(content)
}

// failed is the error of a commit. Only that of a delta which no attempt has made
// conditional says that nothing was written.
func failed(delta *tiers.Delta, err error) error {
	if delta.IsConditional() {
		return err
	}
	return tiers.NotApplied(err)
}

// guess returns the server's state and its version if nothing was written since the request was given base.
// A base that doesn't come from a Load is most likely a state that a request has just written. A wrong guess costs
// a round trip. It isn't ok for a state that can't have been written.
func guess(base *tiers.Snapshot) (current *tiers.Snapshot, version string, ok bool) {
	if base == nil {
		return nil, absent, true
	}
	if version = base.Version(); version != "" {
		return base, version, true
	}
	formed, err := tiers.PreviewJSON(base.Map())
	if err != nil {
		return nil, "", false
	}
	content, err := encode(formed)
	return tiers.Adopt(formed), digest(content), err == nil
}

// written is the snapshot that a Load would return now.
func written(data map[string]any, content []byte, before time.Time, ms int64) *tiers.Snapshot {
	return tiers.Adopt(data).Versioned(digest(content)).Expiring(after(before, ms))
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

// freeLosses is how many losses in a row a commit takes before it lets chance decide.
const freeLosses = 8

// maxPause stays below a round trip of a busy session: a loss means that another
// commit has won, and a commit that paused longer the more it lost would lose for good.
const maxPause = time.Millisecond

// wait breaks the step of commits that race each other.
func wait(ctx context.Context, losses int) error {
	if losses < freeLosses || pause.For(ctx, rand.N(maxPause)) {
		return nil
	}
	return fault.New(ctx, "EVAL", ctx.Err())
}

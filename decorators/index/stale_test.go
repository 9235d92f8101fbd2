package index

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/tiers"
)

// outage serves what it has as layer.ServeStale does while the store is away.
type outage struct {
	tiers.Storage
	on bool
}

func (o *outage) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	read, err := o.Storage.Load(ctx, id, ttl)
	if o.on {
		read.Outcome = tiers.OutcomeStale
	}
	return read, err
}

// A session that memory serves since the store hangs waits for no index that hangs with it.
func TestAStaleReadDoesNotWaitForTheIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const id = "session-0123456789"
		below := &outage{Storage: sessionmap.Adapt(gsession.NewStorageMemory())}
		s := New(below, userOf, Defaults())
		defer func() { _ = s.Close(context.Background()) }()
		logIn(t, s, id)
		if _, err := open(s, id).Get("user"); err != nil { // has read the marks
			t.Fatal(err)
		}
		if err := s.Flush(context.Background()); err != nil { // nobody uses the index now
			t.Fatal(err)
		}
		m := s.indexer.(*memory)
		s.indexer, s.marks.indexer, below.on = hung{m}, hung{m}, true
		s.marks.ValidUntil(time.Time{}) // the source is lost with the store
		began := time.Now()
		if user, err := open(s, id).Get("user"); err != nil || user.String() != "ann" {
			t.Errorf("%v, %v", user, err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it waited for %v", took)
		}
	})
}

// A session that memory serves since the store is slow is over by a mark that this node has set for everybody.
func TestAStaleReadIsOverByAMarkForEverybody(t *testing.T) {
	const id = "session-0123456789"
	below := &outage{Storage: sessionmap.Adapt(gsession.NewStorageMemory())}
	s := nodeOver(t, below)
	logIn(t, s, id)
	if !isAnns(t, s, id) { // has read the marks
		t.Fatal("the session isn't there")
	}
	below.on = true
	if err := s.Principals().RevokeEverybody(t.Context(), "elsewhere"); err != nil {
		t.Fatal(err)
	}
	if isAnns(t, s, id) {
		t.Error("the session lives on")
	}
}

package layer_test

import (
	"context"
	"errors"
	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/poll"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// A program closes its client before the chain. One server's sessions go on, by the storage's own connections.
// Over a cluster all that was accepted is reported, and the errors say what to do instead.
func TestAClientThatIsClosedBeforeTheChain(t *testing.T) {
	server, cluster := redistest.Start(t), redistest.StartCluster(t, 3)
	for name, test := range map[string]struct {
		client redis.UniversalClient
		goesOn bool
	}{
		"one server": {redis.NewClient(&redis.Options{Addr: server.Addr()}), true},
		"cluster":    {redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses(cluster)}), false},
	} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			var lost atomic.Int64
			chain := layer.Chain(redisstore.New(test.client), patientCoalesced(layer.WriteBehind(time.Hour),
				layer.OnGiveUp(func(g layer.GiveUp) { lost.Add(int64(g.Changes)) })), patientLocal())
			watched(t, chain)
			ctx := context.Background()
			begun(t, chain, []string{"changed"})
			m, err := chain.GetSession(ctx, "changed", time.Hour)
			if err != nil || m == nil {
				t.Fatal(m, err)
			}
			m.Set("n", 2)
			if err := errors.Join(chain.SetSession(ctx, "changed", m, time.Hour), test.client.Close()); err != nil {
				t.Fatal(err)
			}
			_, err = chain.GetSession(ctx, "unknown", time.Hour)
			if !test.goesOn {
				if !errors.Is(err, redis.ErrClosed) || !strings.Contains(err.Error(), "close the chain first") {
					t.Errorf("a read gets %v", err)
				}
			} else if err != nil {
				t.Error(err)
			}
			closing, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			switch err := chain.Close(closing); {
			case closing.Err() != nil:
				t.Error("Close goes on trying")
			case test.goesOn && err != nil, !test.goesOn && (!errors.Is(err, tiers.ErrClosed) || !strings.Contains(err.Error(), "1 changes of sessions are not in the store yet, whose client is closed")):
				t.Errorf("Close returns %v", err)
			}
			if test.goesOn {
				if read, err := redisstore.New(server.Client()).Load(ctx, "changed", time.Hour); err != nil || read.Snapshot == nil || number(read.Snapshot) != 2 || lost.Load() > 0 {
					t.Errorf("the store holds %v, %v, and %d changes are reported as lost", read.Snapshot, err, lost.Load())
				}
			} else if !poll.Try(func() bool { return lost.Load() == 1 }) {
				t.Errorf("%d changes are reported as lost", lost.Load())
			}
			leaktest.Ended(t, before)
		})
	}
}

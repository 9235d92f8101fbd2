package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/bench/peers"
)

// lagging shows a write to the second node once its delay is over.
type lagging struct {
	peers.Node
	delays  []time.Duration // of the next writes; none is seen after them
	value   any
	visible time.Time
}

type lagged struct {
	peers.Request
	*lagging
}

func (n *lagging) Begin(context.Context, string) peers.Request { return lagged{lagging: n} }
func (n *lagging) Flush(context.Context) error                 { return nil }

func (r lagged) Close() error { return nil }

func (r lagged) Get(string) (any, error) {
	time.Sleep(time.Millisecond)
	if time.Now().Before(r.visible) {
		return nil, nil
	}
	return r.value, nil
}

func (r lagged) Set(_ string, value any) error {
	r.value, r.visible = value, time.Now().Add(time.Hour)
	if len(r.delays) > 0 {
		r.visible, r.delays = time.Now().Add(r.delays[0]), r.delays[1:]
	}
	return nil
}

func TestOneLateWriteIsTheMachines(t *testing.T) {
	for name, tt := range map[string]struct {
		delays   []time.Duration
		coherent bool
	}{
		"at once":     {[]time.Duration{0}, true},
		"late once":   {[]time.Duration{2 * soon, 0}, true},
		"late always": {[]time.Duration{2 * soon, 2 * soon, 2 * soon, 0}, false},
		"never":       {nil, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &lagging{delays: tt.delays}
			p := prober{one: n, two: n}
			if d := p.coherent("a"); (d > 0) != tt.coherent || d > soon || p.err != nil {
				t.Errorf("%s: coherent after %v, %v", name, d, p.err)
			}
		})
	}
}

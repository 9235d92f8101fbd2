package layer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
)

// prefixed is another author's decorator of maps; below it values are texts with a prefix.
type prefixed struct{ gsession.Storage }

func (p prefixed) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	m, err := p.Storage.GetSession(ctx, id, ttl)
	if m == nil {
		return nil, err
	}
	for key, v := range m.Map() {
		m.Set(key, strings.TrimPrefix(fmt.Sprint(v), "x:"))
	}
	return m, err
}

func (p prefixed) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	data := map[string]any{}
	for key, v := range m.Map() {
		data[key] = "x:" + fmt.Sprint(v)
	}
	return p.Storage.SetSession(ctx, id, gmap.NewStrAnyMapFrom(data, true), ttl)
}

// shown is one that shows what is below it.
type shown struct{ prefixed }

func (s shown) Unwrap() gsession.Storage { return s.Storage }

// A cache keeps no state that a layer below a decorator which changes sessions publishes.
func TestCacheAboveADecoratorThatChangesSessions(t *testing.T) {
	ctx := context.Background()
	for name, between := range map[string]layer.Decorator{
		"Mapped":               testSealed(),
		"maps":                 func(s gsession.Storage) gsession.Storage { return prefixed{s} },
		"maps, shows its base": func(s gsession.Storage) gsession.Storage { return shown{prefixed{s}} },
	} {
		for mode, coalesced := range map[string]layer.Decorator{
			"synchronous": patientCoalesced(), "behind": patientCoalesced(layer.WriteBehind(time.Hour)),
		} {
			chain := layer.Chain(teststore.New(), coalesced, between, patientLocal())
			for round := range 3 {
				m, err := chain.GetSession(ctx, "a", time.Hour)
				if err != nil {
					t.Fatal(name, mode, err)
				}
				if m == nil {
					m = gmap.NewStrAnyMap(true)
				}
				if round > 0 && (m.Get("user") != "ann" || fmt.Sprint(m.Get("round")) != fmt.Sprint(round-1)) {
					t.Errorf("%s, %s, round %d: the session holds %v", name, mode, round, m.Map())
				}
				m.Set("user", "ann")
				m.Set("round", round)
				if err = chain.SetSession(ctx, "a", m, time.Hour); err != nil {
					t.Fatal(name, mode, err)
				}
				if err = chain.Flush(ctx); err != nil { // what was written behind is published now
					t.Fatal(name, mode, err)
				}
			}
			_ = chain.Close(ctx)
		}
	}
}

package layer_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"pgregory.net/rapid"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// TestDifferential gives the same calls, none of which overlap, to a random chain and
// to the bare store, and compares every result. One difference is intended: a log-out
// leaves nothing, and bare stores leave an empty session.
func TestDifferential(t *testing.T) {
	server := redistest.Start(t)
	goFrame, own := server.GoFrame(t), client(t, server)
	stores := map[string]func(prefix string) (chained, bare gsession.Storage){
		"StorageMemory": func(string) (gsession.Storage, gsession.Storage) {
			return gsession.NewStorageMemory(), gsession.NewStorageMemory()
		},
		"StorageRedis": func(prefix string) (gsession.Storage, gsession.Storage) {
			return gsession.NewStorageRedis(goFrame, prefix+"a"), gsession.NewStorageRedis(goFrame, prefix+"b")
		},
		"redisstore": func(prefix string) (gsession.Storage, gsession.Storage) {
			return redisstore.New(own, redisstore.Prefix(prefix+"a")), gsession.NewStorageRedis(goFrame, prefix+"b")
		},
		"StorageRedisHashTable": func(prefix string) (gsession.Storage, gsession.Storage) {
			return gsession.NewStorageRedisHashTable(goFrame, prefix+"a"), gsession.NewStorageRedisHashTable(goFrame, prefix+"b")
		},
	}
	pieces := map[string]func() layer.Decorator{
		"Local":     func() layer.Decorator { return patientLocal() },
		"Exclusive": func() layer.Decorator { return patientLocal(layer.Exclusive()) },
		"Coalesced": func() layer.Decorator { return patientCoalesced() },
		"Behind":    func() layer.Decorator { return patientCoalesced(layer.WriteBehind(5 * time.Millisecond)) },
		"Traced":    func() layer.Decorator { return layer.Traced() },
		"Indexed":   func() layer.Decorator { return layer.Indexed(oneUser) },
		"stranger":  func() layer.Decorator { return strange },
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				var decorators []layer.Decorator
				var drawn []string
				names := []string{"Local", "Exclusive", "Coalesced", "Behind", "Traced", "stranger"}
				if name != "StorageRedisHashTable" {
					names = append(names, "Indexed") // it needs whole sessions
				}
				for _, piece := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(t, "decorators") {
					if piece == "Indexed" && slices.Contains(drawn, piece) {
						continue // one is enough
					}
					drawn = append(drawn, piece)
					decorators = append(decorators, pieces[piece]())
				}
				chained, bare := open(gsession.NewSessionId())
				chain := layer.Chain(chained, decorators...)
				defer func() {
					if err := chain.Close(context.Background()); err != nil {
						t.Fatal(err)
					}
				}()
				p := &pair{chain: chain, bare: bare, direct: name == "StorageRedisHashTable"}
				t.Repeat(map[string]func(*rapid.T){
					"": p.compare, "Write": p.write, "Remove": p.remove, "LogOut": p.logOut, "Replace": p.replace, "PerKey": p.perKey,
				})
			})
		})
	}
}

// oneUser has all sessions in which there is an a.
func oneUser(data map[string]any) string {
	if _, has := data["a"]; has {
		return "oneUser"
	}
	return ""
}

// pair is a chain and the bare store, which get the same calls.
type pair struct {
	chain, bare gsession.Storage
	direct      bool
}

var differentialIDs = []string{"one", "two"}

// both makes the same call of the two and compares what they answer.
func (p *pair) both(t *rapid.T, call func(s gsession.Storage) any) {
	got, want := call(p.chain), call(p.bare)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("the chain returns %#v, the bare store %#v", got, want)
	}
}

func (p *pair) value(t *rapid.T) any {
	if p.direct {
		return rapid.StringN(0, 3, -1).Draw(t, "value") // it keeps text
	}
	return rapid.OneOf(
		rapid.Just[any](nil), rapid.Just[any](true), rapid.Map(rapid.Int64(), func(n int64) any { return n }),
		rapid.Map(rapid.StringN(0, 5, -1), func(s string) any { return s }),
		rapid.Just[any](map[string]any{"deep": []any{"x", map[string]any{}}}), rapid.Just[any]([]any{}),
	).Draw(t, "value")
}

func (p *pair) request(t *rapid.T, do func(*gsession.Session) error) {
	id := rapid.SampledFrom(differentialIDs).Draw(t, "id")
	p.both(t, func(s gsession.Storage) any {
		request := gsession.New(time.Hour, s).New(context.Background(), id)
		return []any{do(request), request.Close()}
	})
}

func (p *pair) write(t *rapid.T) {
	data := map[string]any{}
	for _, key := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3).Draw(t, "keys") {
		data[key] = p.value(t)
	}
	p.request(t, func(s *gsession.Session) error { return s.SetMap(data) })
}

func (p *pair) remove(t *rapid.T) {
	key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
	p.request(t, func(s *gsession.Session) error { return s.Remove(key) })
}

func (p *pair) logOut(t *rapid.T) {
	p.request(t, func(s *gsession.Session) error { return s.RemoveAll() })
}

// replace writes maps that a program made itself, also after reads that found no session.
func (p *pair) replace(t *rapid.T) {
	ctx, id, first, second := context.Background(), gsession.NewSessionId(), p.value(t), p.value(t)
	p.same(t, id)
	p.both(t, func(s gsession.Storage) any {
		mine := gmap.NewStrAnyMapFrom(map[string]any{"a": first, "b": first}, true)
		return []any{
			s.SetSession(ctx, id, mine, time.Hour),
			s.SetSession(ctx, id, gmap.NewStrAnyMapFrom(map[string]any{"a": second, "c": first}, true), time.Hour),
			s.SetSession(ctx, id, mine, time.Hour),
			s.UpdateTTL(ctx, id, time.Hour),
		}
	})
	p.same(t, id)
}

func (p *pair) perKey(t *rapid.T) {
	ctx, id, value := context.Background(), rapid.SampledFrom(differentialIDs).Draw(t, "id"), p.value(t)
	p.both(t, func(s gsession.Storage) any {
		return fmt.Sprint(s.Set(ctx, id, "a", value, time.Hour), s.Remove(ctx, id, "b"))
	})
}

// compare runs after each call.
func (p *pair) compare(t *rapid.T) {
	for _, id := range differentialIDs {
		p.same(t, id)
	}
	p.both(t, func(s gsession.Storage) any {
		m, err := s.GetSession(context.Background(), "nobody", time.Hour)
		return []any{m == nil, err}
	})
}

func (p *pair) same(t *rapid.T, id string) {
	ctx := context.Background()
	p.both(t, func(s gsession.Storage) any {
		m, err := s.GetSession(ctx, id, time.Hour)
		data, dataErr := s.Data(ctx, id)
		size, sizeErr := s.GetSize(ctx, id)
		value, valueErr := s.Get(ctx, id, "a")
		content := map[string]any{}
		if m != nil {
			content = m.Map()
		}
		return []any{content, err, data, dataErr, size, sizeErr, value, valueErr}
	})
}

package layer_test

import (
	"context"
	"reflect"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// nonce is a value whose JSON differs each time that it is made.
type nonce struct{ encoded *atomic.Int64 }

func (n nonce) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, n.encoded.Add(1), 10), nil
}

// Memory shows a change as the store has it, whatever its values are: it is either encoded once, or
// refused before the store is written; and a change that was written can be read.
func TestMemoryShowsWhatTheStoreHas(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	var deep any = "x"
	for range 10_000 {
		deep = []any{deep}
	}
	stores := map[string]func(t *testing.T) gsession.Storage{
		"redisstore":   func(*testing.T) gsession.Storage { return redisstore.New(server.Client()) },
		"StorageRedis": func(t *testing.T) gsession.Storage { return gsession.NewStorageRedis(server.GoFrame(t), "gf:") },
		"StorageFile":  func(t *testing.T) gsession.Storage { return gsession.NewStorageFile(t.TempDir(), time.Hour) },
	}
	chains := map[string][]layer.Decorator{
		"bare":       nil,
		"local":      {patientLocal(layer.Exclusive())},
		"coalesced":  {patientCoalesced()},
		"full":       {patientCoalesced(), patientLocal(layer.Exclusive())},
		"full later": {patientCoalesced(layer.WriteBehind(time.Hour)), patientLocal(layer.Exclusive())},
	}
	values := map[string]struct {
		key     string
		value   any
		refused bool
	}{
		"nonce":                    {"k", nonce{new(atomic.Int64)}, false},
		"nested nonce":             {"k", map[string]any{"a": []any{nonce{new(atomic.Int64)}}}, false},
		"deep":                     {"k", deep, true},
		"channel":                  {"k", make(chan int), true},
		"key that is bytes":        {"k\xff", "v", false},
		"text of bytes":            {"k", "v\xff", false},
		"key that becomes another": {"\xff", "\xfe", false},
		"struct":                   {"k", struct{ B, A int }{1, 2}, false},
	}
	ids := 0
	for storeName, open := range stores {
		for chainName, decorators := range chains {
			t.Run(storeName+" "+chainName, func(t *testing.T) {
				store := open(t)
				chain, bare := layer.Chain(store, decorators...), layer.Chain(store)
				defer func() { _, _ = chain.Close(ctx), bare.Close(ctx) }()
				for name, v := range values {
					for _, whole := range []bool{false, true} {
						ids++
						id := "encoding" + strconv.Itoa(ids)
						before := map[string]any{"user": "alice", "\ufffd": "there"}
						if err := chain.SetSession(ctx, id, gmap.NewStrAnyMapFrom(before, true), time.Hour); err != nil {
							t.Fatal(err)
						}
						m, err := chain.GetSession(ctx, id, time.Hour)
						if err != nil {
							t.Fatal(name, err)
						}
						if whole {
							m = gmap.NewStrAnyMap(true)
						}
						m.Set(v.key, v.value)
						err = chain.SetSession(ctx, id, m, time.Hour)
						if (err != nil) != v.refused {
							t.Fatalf("%s, whole %v: %v", name, whole, err)
						}
						shown, err := chain.GetSession(ctx, id, time.Hour)
						if err != nil {
							t.Fatalf("%s, whole %v: can't be read: %v", name, whole, err)
						}
						if err = chain.Flush(ctx); err != nil {
							t.Fatal(err)
						}
						stored, err := bare.GetSession(ctx, id, time.Hour)
						if err != nil {
							t.Fatalf("%s, whole %v: the store can't be read: %v", name, whole, err)
						}
						if got, want := shown.Map(), stored.Map(); !reflect.DeepEqual(got, want) {
							t.Errorf("%s, whole %v: memory shows %v, the store has %v", name, whole, got, want)
						}
						if v.refused && !reflect.DeepEqual(stored.Map(), before) {
							t.Errorf("%s, whole %v: refused, and written: %d keys", name, whole, stored.Size())
						}
					}
				}
			})
		}
	}
}

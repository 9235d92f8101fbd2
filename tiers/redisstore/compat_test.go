package redisstore_test

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/garray"
	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/container/gvar"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/gogf/gf/v2/os/gtime"

	"github.com/gf-strata/strata/tiers/redisstore"
)

type profile struct {
	Name  string `json:"name"`
	Admin bool   `json:",omitempty"`
	Tags  []string
	inner int
	Next  *profile
}

type secret string

func (s secret) MarshalJSON() ([]byte, error) {
	return []byte(`{ "len" : ` + fmt.Sprint(len(s)) + ` }`), nil
}

// kinds are contents that a codec could get wrong.
func kinds() map[string]values {
	return map[string]values{
		"nothing":       {},
		"nil":           {"a": nil},
		"bools":         {"t": true, "f": false},
		"text":          {"": "empty key", "a": "", "b": "x\x00y\n\t\"\\"},
		"unicode":       {"schlüssel": "мир 世界 🙂 \u2028\u2029 \ufeff"},
		"html":          {"<a&b>": "<script>&amp;</script>"},
		"invalid utf-8": {"a\xff": "b\xfe\xc3\x28"},
		"numbers":       {"i": 1, "neg": -1, "max": int64(math.MaxInt64), "umax": uint64(math.MaxUint64), "i8": int8(-128)},
		"floats":        {"f": 1.5, "tiny": 5e-324, "big": 1e21, "whole": 1e20, "f32": float32(0.1), "zero": math.Copysign(0, -1)},
		"json.Number":   {"n": json.Number("12345678901234567890123.4500"), "e": json.Number("1E+2")},
		"nested":        {"m": values{"a": []any{1, "x", nil, values{"b": []any{}}}}, "e": values{}, "s": []string{}},
		"nil containers": {
			"m": values(nil), "s": []string(nil), "p": (*profile)(nil),
		},
		"structs":   {"p": profile{Name: "<n>", inner: 3}, "q": &profile{Next: &profile{Tags: []string{"t"}}}},
		"time":      {"t": time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC), "d": time.Hour},
		"bytes":     {"b": []byte{0, 1, 255}, "a": [3]byte{1, 2, 3}},
		"raw":       {"r": json.RawMessage(` { "b" : 1 , "a" : "<" } `)},
		"marshaler": {"s": secret("hidden")},
		"int keys":  {"m": map[int]string{2: "b", 1: "a", 10: "c"}},
		"gtime":     {"t": gtime.NewFromTime(time.Date(2024, 1, 2, 3, 4, 5, 6, time.UTC))},
		"gvar":      {"v": gvar.New(values{"a": 1}), "m": values{"x": []any{1, "a"}}},
		"gmap":      {"m": gmap.NewStrAnyMapFrom(values{"a": 1}), "a": garray.NewIntArrayFrom([]int{1, 2})},
		"order":     {"b": 1, "a": 2, "c": 3, "A": 4, "ab": 5, "ä": 6},
		"deep":      {"d": nest(500)},
	}
}

func nest(depth int) any {
	var v any = "end"
	for range depth {
		v = []any{v}
	}
	return v
}

func TestBytesAreStorageRedis(t *testing.T) {
	f := start(t)
	client := f.server.GoFrame(t)
	for _, prefix := range []string{"", "session:"} {
		theirs := gsession.NewStorageRedis(client, prefix)
		ours := redisstore.FromGoFrame(client, redisstore.Prefix(prefix))
		for name, data := range kinds() {
			t.Run(prefix+name, func(t *testing.T) {
				f := &fixture{T: t, server: f.server, raw: f.raw}
				f.check(theirs.SetSession(ctx, "theirs", gmap.NewStrAnyMapFrom(data, true), ttl))
				want := f.raw.Get(ctx, prefix+"theirs").Val()
				switch name {
				case "structs", "raw", "invalid utf-8": // as StorageRedis writes what it has read
					f.check(theirs.SetSession(ctx, "theirs", f.load(theirs, "theirs"), ttl))
					want = f.raw.Get(ctx, prefix+"theirs").Val()
				}

				f.check(ours.SetSession(ctx, "whole", gmap.NewStrAnyMapFrom(data, true), ttl))
				f.want(prefix+"whole", want)

				f.check(f.raw.Del(ctx, prefix+"added").Err())
				if m, err := ours.GetSession(ctx, "added", ttl); m != nil || err != nil {
					t.Fatal(m, err)
				}
				f.check(ours.SetSession(ctx, "added", gmap.NewStrAnyMapFrom(data, true), ttl))
				f.want(prefix+"added", want)

				// A change made by either leaves the bytes that the other would have left.
				for id, s := range map[string]gsession.Storage{"theirs": theirs, "whole": ours} {
					m := f.load(s, id)
					m.Set("changed", "<x>")
					f.check(s.SetSession(ctx, id, m, ttl))
				}
				f.want(prefix+"whole", f.raw.Get(ctx, prefix+"theirs").Val())
			})
		}
	}
}

func TestReadsAreStorageRedis(t *testing.T) {
	f := start(t)
	client := f.server.GoFrame(t)
	theirs, ours := gsession.NewStorageRedis(client), redisstore.FromGoFrame(client)
	for name, data := range kinds() {
		f.check(theirs.SetSession(ctx, "a", gmap.NewStrAnyMapFrom(data, true), ttl))
		if want, got := f.load(theirs, "a").Map(), f.load(ours, "a").Map(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %#v, StorageRedis reads %#v", name, got, want)
		}
		if base, err := ours.Load(ctx, "a", ttl); err != nil || base.Snapshot.Len() != len(f.load(theirs, "a").Map()) {
			t.Errorf("%s: Load returned %v, %v", name, base, err)
		}
	}
	for name, content := range map[string]string{
		"no session": "", "null": "null", "spaced null": " null\n", "spaces": " {\n\"a\" : 1.0 } \n",
		"twice": `{"a":1,"a":{"b":2}}`, "big": `{"n":1` + strings.Repeat("0", 400) + `}`,
	} {
		f.set("a", content)
		want, err := theirs.GetSession(ctx, "a", ttl)
		f.check(err)
		got, err := ours.GetSession(ctx, "a", ttl)
		if err != nil || (got == nil) != (want == nil) || got != nil && !reflect.DeepEqual(got.Map(), want.Map()) {
			t.Errorf("%s: read %v, %v, StorageRedis reads %v", name, got, err, want)
		}
	}
}

// TestOldAndNewNodes takes one session through requests of both in turn, as while a
// team turns the store on, and back again.
func TestOldAndNewNodes(t *testing.T) {
	f := start(t)
	old := gsession.New(ttl, gsession.NewStorageRedis(f.server.GoFrame(t)))
	new := gsession.New(ttl, f.open())
	id := gsession.NewSessionId()
	for n := range 20 {
		manager := old
		if n%2 == 1 {
			manager = new
		}
		session := manager.New(ctx, id)
		if count := session.MustGet("count").Int(); count != n {
			t.Fatalf("request %d reads a count of %d", n, count)
		}
		f.check(session.Set("count", n+1))
		f.check(session.Set(fmt.Sprintf("key%d", n), values{"n": n}))
		f.check(session.Close())
	}
	if size := old.New(ctx, id).MustSize(); size != 21 {
		t.Fatalf("the old node reads %d keys", size)
	}

	// Logged out on an old node, which leaves "{}" behind where the request closes.
	held := new.New(ctx, id)
	f.check(held.Set("late", true))
	session := old.New(ctx, id)
	f.check(session.RemoveAll())
	f.check(session.Close())
	if err := held.Close(); err == nil {
		t.Fatal("the new node's late close was taken")
	}
	f.want(id, "{}")
	if new.New(ctx, id).MustSize() != 0 {
		t.Fatal("the session is back")
	}
}

func TestEmptySessionIsOne(t *testing.T) {
	f := start(t)
	f.set("a", "{}")
	if m := f.load(f.open(), "a"); m.Size() != 0 {
		t.Fatal(m)
	}
}

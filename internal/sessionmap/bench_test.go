package sessionmap

import (
	"testing"

	"github.com/gf-strata/strata/tiers"
)

// A request's and a layer's work without a store; BenchmarkHandOut and BenchmarkClose
// are the Maps, with its floor beside it.

func nestedSession() values {
	data := tenKeys()
	data["cart"] = values{"items": []any{values{"sku": "a", "n": "1"}, values{"sku": "b", "n": "2"}}, "count": "2"}
	return data
}

func BenchmarkSnapshot(b *testing.B) {
	for name, data := range map[string]values{"ten_keys": tenKeys(), "nested": nestedSession()} {
		s := tiers.Adopt(data)
		packed, _ := s.Pack(nil)
		text := string(packed)
		for what, do := range map[string]func(){
			"adopt":  func() { tiers.Adopt(data) },
			"map":    func() { s.Map() },
			"pack":   func() { s.Pack(packed[:0]) },
			"unpack": func() { tiers.Unpack(text) },
		} {
			b.Run(name+"/"+what, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					do()
				}
			})
		}
	}
}

func BenchmarkDelta(b *testing.B) {
	base, changed := tiers.Adopt(tenKeys()), tenKeys()
	changed["key3"] = "another value"
	delta, err := tiers.Diff(base, changed)
	if err != nil {
		b.Fatal(err)
	}
	for what, do := range map[string]func(){
		"diff":  func() { _, _ = tiers.Diff(base, changed) },
		"apply": func() { _, _ = delta.Apply(base) },
		"join":  func() { delta.Merge(delta) },
	} {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				do()
			}
		})
	}
}

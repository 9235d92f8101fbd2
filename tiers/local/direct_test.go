package local_test

import (
	"maps"
	"testing"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers/local"
)

func TestADirectStoreIsReadFromMemory(t *testing.T) {
	k := teststore.NewKeys(map[string]map[string]any{"a": {"x": "1", "list": []any{"1"}}})
	l := local.New(k, local.Exclusive(), local.MaxBytes(1<<20))
	defer l.Close(ctx)
	read := func() {
		t.Helper()
		if m, err := l.GetSession(ctx, "a", ttl); err != nil || m == nil || m.Size() != 0 {
			t.Errorf("GetSession: %v, %v, want an empty map", m, err)
		}
		if v, err := l.Get(ctx, "a", "x"); err != nil || v != "1" {
			t.Errorf("Get: %v, %v", v, err)
		}
		if v, err := l.Get(ctx, "a", "none"); err != nil || v != nil {
			t.Errorf("Get of no key: %v, %v", v, err)
		}
		if n, err := l.GetSize(ctx, "a"); err != nil || n != 2 {
			t.Errorf("GetSize: %v, %v", n, err)
		}
		if d, err := l.Data(ctx, "a"); err != nil || len(d) != 2 {
			t.Errorf("Data: %v, %v", d, err)
		}
	}
	poll.Until(t, "memory serves the reads", func() bool {
		before := k.Questions()
		read()
		return k.Questions() == before
	})

	list, err := l.Get(ctx, "a", "list")
	if err != nil {
		t.Fatal(err)
	}
	list.([]any)[0] = "changed"
	if d, _ := l.Data(ctx, "a"); d["list"].([]any)[0] != "1" {
		t.Error("a caller changed what memory holds")
	}

	for name, write := range map[string]func() error{
		"Set":       func() error { return l.Set(ctx, "a", "x", "2", ttl) },
		"SetMap":    func() error { return l.SetMap(ctx, "a", map[string]any{"y": "3"}, ttl) },
		"Remove":    func() error { return l.Remove(ctx, "a", "x") },
		"RemoveAll": func() error { return l.RemoveAll(ctx, "a") },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		got, err := l.Data(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if holds := k.Holds("a"); len(got) != len(holds) || (len(got) > 0 && !maps.EqualFunc(got, holds, func(a, b any) bool { _, nested := a.([]any); return nested || a == b })) {
			t.Errorf("after %s memory returns something else than the store", name)
		}
	}
	if m, err := l.GetSession(ctx, "a", ttl); err != nil || (m != nil) != (k.Holds("a") != nil) {
		t.Errorf("GetSession: %v, %v", m, err)
	}
}

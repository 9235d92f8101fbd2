package layer_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

type cart struct {
	Items map[string]int `json:"items"`
	Since time.Time      `json:"since"`
	Big   int64          `json:"big"`
}

// typedSessions returns a function that opens the same session anew, once per store.
func typedSessions(t *testing.T) map[string]func() *gsession.Session {
	t.Helper()
	store, err := redisstore.Open(redistest.Start(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close(context.Background()) })
	open := map[string]func() *gsession.Session{}
	for name, storage := range map[string]gsession.Storage{"redis": store, "memory": gsession.NewStorageMemory()} {
		chain := layer.Chain(storage, patientCoalesced(), patientLocal())
		t.Cleanup(func() { _ = chain.Close(context.Background()) })
		manager := gsession.New(time.Hour, chain)
		open[name] = func() *gsession.Session { return manager.New(context.Background(), "typed-session-of-the-test") }
	}
	return open
}

func TestTypedValuesComeBackAsTheyWere(t *testing.T) {
	key, name := layer.Typed[cart]("cart"), layer.Typed[string]("name")
	want := cart{Items: map[string]int{"tea": 2}, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Big: math.MaxInt64}
	for store, open := range typedSessions(t) {
		s := open()
		if _, err := key.Get(s); !errors.Is(err, layer.ErrNoValue) {
			t.Errorf("%s: an absent value is %v", store, err)
		}
		if err := errors.Join(key.Set(s, want), name.Set(s, "Ann")); err != nil {
			t.Fatal(err)
		}
		for n := range 2 { // in the request that set it, and in the next one
			got, err := key.Get(s)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: request %d reads %+v, %v", store, n+1, got, err)
			}
			if got, err := name.Get(s); err != nil || got != "Ann" {
				t.Errorf("%s: request %d reads %q, %v", store, n+1, got, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open()
		}
	}
}

func TestTypedMigratesOlderValues(t *testing.T) {
	type old struct{ Tea int }
	versions := []int{}
	migrate := func(version int, raw json.RawMessage) (cart, error) {
		versions = append(versions, version)
		var o old
		err := json.Unmarshal(raw, &o)
		return cart{Items: map[string]int{"tea": o.Tea}}, err
	}
	for store, open := range typedSessions(t) {
		versions = nil
		for n, set := range []func(*gsession.Session) error{
			func(s *gsession.Session) error { return layer.Typed[old]("cart").Set(s, old{5}) },
			func(s *gsession.Session) error {
				return layer.Typed[old]("cart").Migrate(1, func(int, json.RawMessage) (old, error) { return old{}, nil }).Set(s, old{5})
			},
		} {
			s := open()
			if err := errors.Join(set(s), s.Close()); err != nil {
				t.Fatal(err)
			}
			key := layer.Typed[cart]("cart").Migrate(2, migrate)
			s = open()
			got, err := key.Get(s)
			if err != nil || got.Items["tea"] != 5 || versions[len(versions)-1] != n {
				t.Errorf("%s: version %d is read as %+v, %v, given %v", store, n, got, err, versions)
			}
			calls := len(versions)
			if err := key.Set(s, got); err != nil {
				t.Fatal(err)
			}
			if again, err := key.Get(s); err != nil || !reflect.DeepEqual(again, got) || len(versions) != calls {
				t.Errorf("%s: a value of this version is migrated, to %+v, %v", store, again, err)
			}
		}
	}
}

func TestTypedErrorsShowNoValue(t *testing.T) {
	const secret = "secret"
	for _, open := range typedSessions(t) {
		s := open()
		if err := s.Set("cart", secret); err != nil {
			t.Fatal(err)
		}
		_, notACart := layer.Typed[cart]("cart").Get(s)
		_, migrated := layer.Typed[int]("cart").Migrate(1, func(_ int, raw json.RawMessage) (int, error) {
			return 0, errors.New("the program's own")
		}).Get(s)
		for what, err := range map[string]error{
			"another type": notACart,
			"a channel":    layer.Typed[any]("cart").Set(s, make(chan int)),
			"null":         layer.Typed[*cart]("cart").Set(s, nil),
			"migrated":     migrated,
		} {
			if err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if v, err := layer.Typed[string]("cart").Get(s); err != nil || v != secret {
			t.Errorf("what couldn't be set replaced the value: %q, %v", v, err)
		}
	}
}

func TestTypedMistakesPanic(t *testing.T) {
	for name, f := range map[string]func(){
		"no key":      func() { layer.Typed[int]("") },
		"version 0":   func() { layer.Typed[int]("n").Migrate(0, func(int, json.RawMessage) (int, error) { return 0, nil }) },
		"no function": func() { layer.Typed[int]("n").Migrate(1, nil) },
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "strata: ") {
					t.Errorf("%s: %q", name, text)
				}
			}()
			f()
		}()
	}
}

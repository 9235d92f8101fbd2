package tiers

import (
	"errors"
	"math"
	"sync"
	"testing"
	"time"
)

func nestedData() values {
	return values{
		"user": "one", "n": 1, "nil": nil,
		"cart": values{"items": []any{"a", values{"price": 2}}},
		"tags": []string{"x"}, "self": &account{Tags: []string{"y"}},
	}
}

// spoil changes everything that can be reached from data.
func spoil(data values) {
	data["cart"].(values)["items"].([]any)[1].(values)["price"] = 3
	data["cart"].(values)["items"].([]any)[0] = "b"
	data["tags"].([]string)[0] = "z"
	data["self"].(*account).Tags[0] = "z"
	data["user"] = "two"
	delete(data, "n")
}

func TestSnapshotSharesNothing(t *testing.T) {
	given := nestedData()
	s, err := NewSnapshot(given)
	if err != nil {
		t.Fatal(err)
	}
	spoil(given)
	wantData(t, s.Map(), nestedData())
	spoil(s.Map())
	wantData(t, s.Map(), nestedData())
	got := values{}
	for key := range nestedData() {
		got[key] = s.Get(key)
	}
	spoil(got)
	wantData(t, s.Map(), nestedData())
	if s.Len() != len(nestedData()) || s.Get("absent") != nil {
		t.Errorf("Len = %d, Get of an absent key = %v", s.Len(), s.Get("absent"))
	}
}

func TestSnapshotOfNothing(t *testing.T) {
	for name, make := range map[string]func() (*Snapshot, error){
		"NewSnapshot": func() (*Snapshot, error) { return NewSnapshot(nil) },
		"Adopt":       func() (*Snapshot, error) { return Adopt(nil), nil },
	} {
		s, err := make()
		if err != nil || s.Len() != 0 || s.Map() == nil || s.Get("k") != nil || s.Size() <= 0 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		s.Map()["k"] = 1
	}
}

func TestSnapshotMarksAreOfTheCopy(t *testing.T) {
	s := Adopt(values{"a": 1})
	at := time.Now()
	marked := s.Expiring(at).Versioned("v")
	if _, known := s.Expires(); known || s.Version() != "" {
		t.Error("the original was marked")
	}
	if got, known := marked.Expires(); !known || !got.Equal(at) || marked.Version() != "v" {
		t.Errorf("Expires = %v, %v, Version = %q", got, known, marked.Version())
	}
	if got, known := s.Expiring(time.Time{}).Expires(); !known || !got.IsZero() {
		t.Error("a session that never expires isn't distinguished from one of which nothing is known")
	}
	wantData(t, marked.Map(), values{"a": 1})
}

func TestSnapshotTakesConcurrentReaders(t *testing.T) {
	s, err := NewSnapshot(nestedData())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				spoil(s.Map())
				s.Get("cart").(values)["items"] = nil
				s.Expiring(time.Now())
			}
		})
	}
	all.Wait()
	wantData(t, s.Map(), nestedData())
}

// Each constructor refuses what can't be copied, in a text of its own.
func TestAValueThatCannotBeKeptIsRefused(t *testing.T) {
	cyclic := values{}
	cyclic["self"] = cyclic
	for name, make := range map[string]func() error{
		"NewSnapshot": func() error { _, err := NewSnapshot(cyclic); return err },
		"Replace":     func() error { _, err := Replace(cyclic); return err },
		"Add":         func() error { _, err := Add(cyclic); return err },
		"Diff":        func() error { _, err := Diff(nothing, cyclic); return err },
		"PreviewJSON": func() error { _, err := PreviewJSON(values{"n": math.NaN()}); return err },
	} {
		var ours *Error
		if err := make(); !errors.As(err, &ours) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package tiers

import (
	"reflect"
	"testing"
)

type values = map[string]any

var nothing = Adopt(map[string]any{})

type point struct{ X, Y int }

type account struct {
	Name string
	Tags []string
	Next *account
}

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

func wantData(t testing.TB, got, want values) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 && (got == nil) == (want == nil) {
		return
	}
	if !equal(got, want) {
		t.Errorf("data = %v, want %v", got, want)
	}
}

package layertest_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/layertest"
	"github.com/gf-strata/strata/tiers"
)

type decorate = func(gsession.Storage) gsession.Storage

func same(s gsession.Storage) gsession.Storage { return s }

// reference is a storage that keeps every law, with a decorator on it.
func reference(outer decorate) (open func(*testing.T) gsession.Storage, opts []layertest.Option) {
	open = func(t *testing.T) gsession.Storage { return outer(chain(t, teststore.New())) }
	return open, []layertest.Option{
		layertest.Revoked(layer.ErrRevoked),
		layertest.Bare(func(t *testing.T) gsession.Storage { return layer.Chain(teststore.New()) }),
		layertest.Nodes(func(t *testing.T) (a, b gsession.Storage) {
			store := teststore.New()
			return outer(chain(t, store)), outer(chain(t, store))
		}),
		layertest.Wrapped(func(t *testing.T, wrap func(gsession.Storage) gsession.Storage) gsession.Storage {
			return outer(chain(t, wrap(layer.Chain(teststore.New()))))
		}),
	}
}

func chain(t *testing.T, store gsession.Storage) gsession.Storage {
	// However busy the machine is, and of little memory, whose counters ristretto clears one by one when it is closed.
	c := layer.Chain(store, layer.Local(layer.LoadTimeout(30*time.Second), layer.MaxBytes(4<<20)))
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

var _ tiers.Storage = (*teststore.Store)(nil)

func TestAStorageThatKeepsTheLawsPasses(t *testing.T) {
	open, opts := reference(same)
	layertest.Run(t, open, opts...)
}

func overwriting(s gsession.Storage) gsession.Storage { return overwrites{s} }

// A law that can't fail proves nothing: each is broken here on purpose.
func TestEveryLawFindsItsBreaker(t *testing.T) {
	forever := make(chan struct{})
	t.Cleanup(func() { close(forever) })
	newCaches := func(notices bool) decorate {
		return func(s gsession.Storage) gsession.Storage {
			return &caches{Storage: s, notices: notices, cached: map[string]map[string]any{}}
		}
	}
	newClosed := func(s gsession.Storage) *closed {
		return &closed{Storage: s, outcomes: map[*gmap.StrAnyMap]error{}}
	}
	found := map[string]bool{"8 no time to live": true} // by the next test
	for _, broken := range []struct {
		law   int
		check string
		by    string
		with  decorate
	}{
		{1, "types", "retypes", func(s gsession.Storage) gsession.Storage { return &retypes{Storage: s, seen: map[string]bool{}} }},
		{1, "values", "retypes", func(s gsession.Storage) gsession.Storage { return &retypes{Storage: s, seen: map[string]bool{}} }},
		{1, "no session", "invents", func(s gsession.Storage) gsession.Storage { return invents{s} }},
		{1, "style", "enables", func(s gsession.Storage) gsession.Storage { return enables{s} }},
		{1, "replace", "caches", newCaches(false)},
		{1, "replace a new session", "joins", func(s gsession.Storage) gsession.Storage { return &joins{Storage: s, absent: map[string]int{}} }},
		{1, "replace with the same map", "repeats", func(s gsession.Storage) gsession.Storage {
			return &repeats{Storage: s, written: map[*gmap.StrAnyMap]string{}}
		}},
		{1, "nil context", "drops", func(s gsession.Storage) gsession.Storage { return drops{s} }},
		{1, "odd keys", "mangles", func(s gsession.Storage) gsession.Storage { return mangles{s} }},
		{1, "values that encode differently", "encodes", func(s gsession.Storage) gsession.Storage {
			return &encodes{Storage: s, encoded: map[string][]byte{}}
		}},
		{1, "regenerate", "forgets", func(s gsession.Storage) gsession.Storage { return &forgets{Storage: s, known: map[string]bool{}} }},
		{2, "requests", "shares", func(s gsession.Storage) gsession.Storage {
			return &shares{Storage: s, maps: map[string]*gmap.StrAnyMap{}}
		}},
		{2, "nested values", "caches", newCaches(true)},
		{2, "given maps", "adopts", func(s gsession.Storage) gsession.Storage {
			return &adopts{Storage: s, given: map[string]map[string]any{}}
		}},
		{2, "nested changes", "skims", func(s gsession.Storage) gsession.Storage { return skims{s} }},
		{3, "at once", "caches", newCaches(false)},
		{3, "under load", "caches", newCaches(false)},
		{4, "another node", "caches", newCaches(true)},
		{5, "two requests", "overwrites", overwriting},
		{5, "two that create", "wipes", func(s gsession.Storage) gsession.Storage { return wipes{s} }},
		{5, "many requests", "overwrites", overwriting},
		{5, "removed keys", "overwrites", overwriting},
		{5, "two nodes", "overwrites", overwriting},
		{5, "many requests on two nodes", "overwrites", overwriting},
		{5, "a lost reply", "insists", func(s gsession.Storage) gsession.Storage { return insists{s} }},
		{5, "regenerate", "overwrites", overwriting},
		{6, "running request", "overwrites", overwriting},
		{6, "running request on another node", "overwrites", overwriting},
		{6, "new id", "overwrites", overwriting},
		{6, "new id on another node", "overwrites", overwriting},
		{6, "second close", "alarms", func(s gsession.Storage) gsession.Storage { return alarms{newClosed(s)} }},
		{6, "second close", "relents", func(s gsession.Storage) gsession.Storage { return relents{newClosed(s)} }},
		{6, "second close", "revives", func(s gsession.Storage) gsession.Storage { return revives{newClosed(s)} }},
		{6, "second close on another node", "alarms", func(s gsession.Storage) gsession.Storage { return alarms{newClosed(s)} }},
		{6, "second close on another node", "relents", func(s gsession.Storage) gsession.Storage { return relents{newClosed(s)} }},
		{6, "second close on another node", "revives", func(s gsession.Storage) gsession.Storage { return revives{newClosed(s)} }},
		{6, "second close after a refusal", "asks", func(s gsession.Storage) gsession.Storage { return asks{newClosed(s)} }},
		{6, "new log-in", "overwrites", overwriting},
		{6, "same log-in again", "compares", func(s gsession.Storage) gsession.Storage {
			return &compares{Storage: s, given: map[*gmap.StrAnyMap]string{}}
		}},
		{6, "log-out during a change of id", "overwrites", overwriting},
		{6, "a lost reply", "insists", func(s gsession.Storage) gsession.Storage { return insists{s} }},
		{6, "log-in by the same request", "buries", func(s gsession.Storage) gsession.Storage { return &buries{Storage: s, buried: map[string]bool{}} }},
		{6, "nothing is left", "empties", func(s gsession.Storage) gsession.Storage { return empties{s} }},
		{6, "removal that failed", "buries", func(s gsession.Storage) gsession.Storage { return &buries{Storage: s, buried: map[string]bool{}} }},
		{6, "under load", "overwrites", overwriting},
		{6, "under load on two nodes", "overwrites", overwriting},
		{7, "cancelled callers", "drops", func(s gsession.Storage) gsession.Storage { return drops{s} }},
		{7, "failing store", "swallows", func(s gsession.Storage) gsession.Storage { return swallows{s} }},
		{7, "values that can't be saved", "swallows", func(s gsession.Storage) gsession.Storage { return swallows{s} }},
		{7, "refused before the store is written", "touches", func(s gsession.Storage) gsession.Storage { return touches{s} }},
		{7, "refused or readable", "spoils", func(s gsession.Storage) gsession.Storage { return &spoils{Storage: s, spoiled: map[string]bool{}} }},
		{7, "refused or readable", "swallows", func(s gsession.Storage) gsession.Storage { return swallows{s} }},
		{7, "panicking store", "catches", func(s gsession.Storage) gsession.Storage { return catches{s} }},
		{7, "writing strange ids", "trims", func(s gsession.Storage) gsession.Storage { return trims{s} }},
		{7, "close of the storage", "hoards", func(s gsession.Storage) gsession.Storage {
			return &hoards{Storage: s, held: map[string]*gmap.StrAnyMap{}}
		}},
		{7, "panicking values", "spreads", func(s gsession.Storage) gsession.Storage { return &spreads{Storage: s} }},
		{7, "reading strange ids", "objects", func(s gsession.Storage) gsession.Storage { return objects{s} }},
		{7, "second close", "overwrites", overwriting},
		{8, "ends", "lingers", func(s gsession.Storage) gsession.Storage { return lingers{s} }},
		{8, "ends", "hurries", func(s gsession.Storage) gsession.Storage { return hurries{s} }},
		{8, "in use", "stands", func(s gsession.Storage) gsession.Storage { return stands{s} }},
		{8, "odd times", "overflows", func(s gsession.Storage) gsession.Storage { return overflows{s} }},
		{8, "shortened", "stands", func(s gsession.Storage) gsession.Storage { return stands{s} }},
		{9, "after close", "remains", func(s gsession.Storage) gsession.Storage { return remains{newCaches(true)(s).(*caches)} }},
		{9, "goroutines", "leaky", func(s gsession.Storage) gsession.Storage { return leaky(s, forever) }},
		{9, "close under load", "closes", func(s gsession.Storage) gsession.Storage { return &closes{Storage: s} }},
		{10, "error texts", "leaks", func(s gsession.Storage) gsession.Storage { return leaks{s} }},
		{10, "the store's texts", "leaks", func(s gsession.Storage) gsession.Storage { return leaks{s} }},
		{10, "dumps", "shows", func(s gsession.Storage) gsession.Storage { return &shows{Storage: s} }},
		{10, "dumps", "sprawls", func(s gsession.Storage) gsession.Storage { return &sprawls{Storage: s} }},
	} {
		found[fmt.Sprint(broken.law, " ", broken.check)] = true
		t.Run(broken.check+" "+broken.by, func(t *testing.T) {
			t.Parallel()
			open, opts := reference(broken.with)
			var err error
			for end := time.Now().Add(2 * time.Minute); err == nil && time.Now().Before(end); { // some breaches take a race to show
				err = layertest.Verify(t, broken.law, broken.check, open, opts...)
			}
			if err == nil {
				t.Errorf("law %d, %q, doesn't find out a decorator that breaks it", broken.law, broken.check)
			}
		})
	}
	for _, law := range layertest.Laws() {
		for _, check := range law.Checks {
			if !found[fmt.Sprint(law.Number, " ", check)] {
				t.Errorf("no decorator breaks law %d, %q", law.Number, check)
			}
		}
	}
}

// listed finds a law of the package's documentation, and the lines with its checks.
var listed = regexp.MustCompile(`(?m)^//\t(\d+) (.*)\n((?://\t\t.*\n)+)`)

func TestTheDocumentationListsTheChecks(t *testing.T) {
	source, err := os.ReadFile("layertest.go")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, law := range listed.FindAllStringSubmatch(string(source), -1) {
		got = append(got, fmt.Sprintf("%s %s: %s", law[1], law[2], strings.Join(strings.Fields(strings.ReplaceAll(law[3], "//", "")), " ")))
	}
	for _, law := range layertest.Laws() {
		want = append(want, fmt.Sprintf("%d %s: %s", law.Number, law.Name, strings.Join(law.Checks, ", ")))
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The reference's store has no sessions without an end.
func TestALostSessionWithoutAnEndIsFound(t *testing.T) {
	for _, s := range []struct {
		by    decorate
		broke bool
	}{{same, false}, {func(s gsession.Storage) gsession.Storage { return ends{s} }, true}} {
		err := layertest.Verify(t, 8, "no time to live",
			func(t *testing.T) gsession.Storage { return s.by(chain(t, gsession.NewStorageMemory())) },
			layertest.Bare(func(*testing.T) gsession.Storage { return gsession.NewStorageMemory() }))
		if (err != nil) != s.broke {
			t.Errorf("broken: %t, found: %v", s.broke, err)
		}
	}
}

// A store's goroutines may run until it is cleaned up, as those of a *sql.DB do.
func TestWhatEndsWithTheCleanUpIsNoLeak(t *testing.T) {
	open, opts := reference(same)
	err := layertest.Verify(t, 9, "goroutines", func(t *testing.T) gsession.Storage {
		end := make(chan struct{})
		t.Cleanup(func() { close(end) })
		return leaky(open(t), end)
	}, opts...)
	if err != nil {
		t.Error(err)
	}
}

// A *sql.DB panics without a context, and its Close hangs from then on. A chain needs none over any store.
func TestOnlyLayersWorkWithoutAContext(t *testing.T) {
	open, opts := reference(func(s gsession.Storage) gsession.Storage { return drops{s} })
	if err := layertest.Verify(t, 1, "nil context", open); err != nil {
		t.Errorf("a store has to take no context: %v", err)
	}
	if err := layertest.Verify(t, 1, "nil context", open, opts...); err == nil {
		t.Error("with Bare a layer that needs a context isn't found")
	}
}

// A failure says how to leave its check out.
func TestAnExceptionIsNotChecked(t *testing.T) {
	open, opts := reference(overwriting)
	err := layertest.Verify(t, 5, "two requests", open, opts...)
	if err == nil {
		t.Fatal("the law isn't broken")
	}
	for _, part := range []string{"law 5, no lost update: the session holds", "\nA user sees: One of two", "\nWhat to do: Apply only", `layertest.Except(5, "two requests", "why")`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("a failure doesn't say %q: %v", part, err)
		}
	}
	if err := layertest.Verify(t, 5, "", open, append(opts, layertest.Except(5, "", "GoFrame's way"))...); err != nil {
		t.Error(err)
	}
}

// A storage that panics is found where it does.
func TestAPanicShowsWhereItWas(t *testing.T) {
	err := layertest.Verify(t, 3, "at once", func(t *testing.T) gsession.Storage { return panics{teststore.New()} })
	if err == nil || !strings.Contains(err.Error(), "panic: not yet") || !strings.Contains(err.Error(), "layertest_test.panics.SetSession") {
		t.Errorf("the failure says %v", err)
	}
}

type panics struct{ gsession.Storage }

func (panics) SetSession(context.Context, string, *gmap.StrAnyMap, time.Duration) error {
	panic("not yet")
}

func TestExceptRefusesAnUnknownCheck(t *testing.T) {
	for _, unknown := range []func(){
		func() { layertest.Except(11, "", "no such law") },
		func() { layertest.Except(5, "two request", "no such check") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("accepted")
				}
			}()
			unknown()
		}()
	}
}

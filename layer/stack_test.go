package layer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
)

const id = "session-1"

func wantLog(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the calls were %q, want %q", got, want)
	}
}

func wantData(t *testing.T, got, want map[string]any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("data = %v, want %v", got, want)
	}
}

func TestChainPutsTheFirstDecoratorInnermost(t *testing.T) {
	var log []string
	store := newFew()
	chain := layer.Chain(store, wrapped("A", &log, nil), wrapped("B", &log, nil))
	if _, err := chain.GetSession(t.Context(), id, time.Hour); err != nil {
		t.Fatal(err)
	}
	wantLog(t, log, "B GetSession", "A GetSession")
	b, ok := chain.Unwrap().(*wrapper)
	if !ok || b.name != "B" || b.Storage.(*wrapper).name != "A" || b.Storage.(*wrapper).Storage != gsession.Storage(store) {
		t.Error("Chain(s, A, B) isn't B(A(s))")
	}
	if bare := layer.Chain(store); bare.Unwrap() != gsession.Storage(store) {
		t.Error("a chain without decorators doesn't end at its store")
	}
}

func TestMistakesInAChainPanic(t *testing.T) {
	whatever := wrapped("A", nil, nil)
	for name, tt := range map[string]struct {
		make func()
		want string
	}{
		"no store":                   {func() { layer.Chain(nil) }, "layer.Chain needs a store"},
		"typed nil store":            {func() { layer.Chain((*gsession.StorageMemory)(nil)) }, "layer.Chain needs a store"},
		"nil decorator":              {func() { layer.Chain(newFew(), whatever, nil) }, "decorator 2 of layer.Chain is nil"},
		"decorator that returns nil": {func() { layer.Chain(newFew(), func(gsession.Storage) gsession.Storage { return nil }) }, "decorator 1 of layer.Chain returned nil"},
		"decorator that returns none": {func() {
			layer.Chain(newFew(), whatever, func(gsession.Storage) gsession.Storage { return (*wrapper)(nil) })
		}, "decorator 2 of layer.Chain returned nil"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "strata: ") || !strings.Contains(text, tt.want) {
					t.Errorf("panic = %q, want %q", text, tt.want)
				}
			}()
			tt.make()
		})
	}
}

// holder hides the storage that it wraps, and has an Unwrap.
type holder struct{ inner gsession.Storage }

func (h holder) Unwrap() gsession.Storage { return h.inner }

type holding struct {
	gsession.Storage
	holder
}

func TestAsFindsLayersAndWhatTheyWrap(t *testing.T) {
	store := newFew()
	chain := layer.Chain(store, wrapped("A", nil, nil), wrapped("B", nil, nil))
	if got, ok := layer.As[*few](chain); !ok || got != store {
		t.Error("the store isn't found past two strangers")
	}
	if got, ok := layer.As[*wrapper](chain); !ok || got.name != "B" {
		t.Error("not the outermost layer is found")
	}
	if got, ok := layer.As[*layer.Stack](chain); !ok || got != chain {
		t.Error("the chain itself isn't found")
	}
	if got, ok := layer.As[interface{ Close(context.Context) error }](chain); !ok || got != any(chain) {
		t.Error("an interface isn't found")
	}
	if _, ok := layer.As[*gsession.StorageMemory](chain); ok {
		t.Error("a layer is found that the chain hasn't")
	}
	outer := layer.Chain(holding{Storage: chain, holder: holder{chain}}, wrapped("C", nil, nil))
	if got, ok := layer.As[*few](outer); !ok || got != store {
		t.Error("the store of a chain in a chain isn't found")
	}
	if _, ok := layer.As[*few](&wrapper{Storage: store}); ok {
		t.Error("a stranger without Unwrap is seen through outside of a chain")
	}
	if _, ok := layer.As[*few](nil); ok {
		t.Error("something is found in nothing")
	}
}

func TestCloseFlushesThenClosesOutermostFirstAndOnce(t *testing.T) {
	var log []string
	one, two := errors.New("one"), errors.New("two")
	chain := layer.Chain(newFew(), wrapped("A", &log, one), wrapped("B", &log, nil), wrapped("C", &log, two))
	err := chain.Close(t.Context())
	if !errors.Is(err, one) || !errors.Is(err, two) {
		t.Errorf("Close = %v, want both errors", err)
	}
	want := []string{"C Flush", "B Flush", "A Flush", "C Close", "B Close", "A Close"}
	wantLog(t, log, want...)
	if again := chain.Close(t.Context()); again != err {
		t.Errorf("the second Close = %v", again)
	}
	wantLog(t, log, want...)
}

func TestFlushAsksEveryLayer(t *testing.T) {
	var log []string
	failed := errors.New("failed")
	chain := layer.Chain(newFew(), wrapped("A", &log, failed), wrapped("B", &log, nil))
	for range 2 {
		if err := chain.Flush(t.Context()); !errors.Is(err, failed) {
			t.Errorf("Flush = %v", err)
		}
	}
	wantLog(t, log, "B Flush", "A Flush", "B Flush", "A Flush")
	if err := layer.Chain(newFew()).Flush(t.Context()); err != nil {
		t.Errorf("Flush of nothing = %v", err)
	}
}

func TestConcurrentCloses(t *testing.T) {
	var log []string
	chain := layer.Chain(newFew(), wrapped("A", &log, nil))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { _ = chain.Close(t.Context()) })
	}
	all.Wait()
	wantLog(t, log, "A Flush", "A Close")
}

// flat is a storage of a type that can't be compared.
type flat struct {
	*few
	_ []int
}

// boxed is one of a type that can, around one that can't.
type boxed struct{ gsession.Storage }

// The store stays open, and a layer that isn't one is neither closed nor flushed.
func TestCloseLeavesTheStoreAndGivenStoragesOpen(t *testing.T) {
	nothing := func(inner gsession.Storage) gsession.Storage { return inner }
	for name, tt := range map[string]struct {
		store func(log *[]string) gsession.Storage
		want  []string
	}{
		"of a store with Close":         {func(log *[]string) gsession.Storage { return &wrapper{newFew(), "store", log, nil} }, []string{"A Flush", "A Close"}},
		"of a store without":            {func(*[]string) gsession.Storage { return newFew() }, []string{"A Flush", "A Close"}},
		"of one that can't be compared": {func(*[]string) gsession.Storage { return flat{few: newFew()} }, []string{"A Flush", "A Close"}},
		"of one in a comparable box":    {func(*[]string) gsession.Storage { return boxed{flat{few: newFew()}} }, []string{"A Flush", "A Close"}},
	} {
		t.Run("that returned what it was given, "+name, func(t *testing.T) {
			var log []string
			chain := layer.Chain(tt.store(&log), nothing, wrapped("A", &log, nil), nothing, nothing)
			if err := chain.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantLog(t, log, tt.want...)
			log = nil
			func() {
				defer func() { _ = recover() }()
				layer.Chain(tt.store(&log), nothing, wrapped("A", &log, nil), nothing, nil)
			}()
			wantLog(t, log, "A Close")
		})
	}
	var log []string
	store := &wrapper{newFew(), "store", &log, nil}
	chain := layer.Chain(store, wrapped("A", &log, nil), func(gsession.Storage) gsession.Storage { return store })
	if err := chain.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLog(t, log, "A Flush", "A Close")
}

// ops are all the operations on one session.
func ops(ctx context.Context, s *layer.Stack, id string) map[string]error {
	errs := map[string]error{}
	_, errs["GetSession"] = s.GetSession(ctx, id, time.Hour)
	_, errs["Get"] = s.Get(ctx, id, "k")
	_, errs["Data"] = s.Data(ctx, id)
	_, errs["GetMap"] = s.GetMap(ctx, id)
	_, errs["GetSize"] = s.GetSize(ctx, id)
	errs["SetSession"] = s.SetSession(ctx, id, gmap.NewStrAnyMap(true), time.Hour)
	errs["UpdateTTL"] = s.UpdateTTL(ctx, id, time.Hour)
	errs["Set"] = s.Set(ctx, id, "k", "v", time.Hour)
	errs["SetMap"] = s.SetMap(ctx, id, map[string]any{"k": "v"}, time.Hour)
	errs["Remove"] = s.Remove(ctx, id, "k")
	errs["RemoveAll"] = s.RemoveAll(ctx, id)
	return errs
}

// No session has such an id: reads find none, writes are refused with a sentence, and a
// Session over a snapshot store works with its map, so that it can be given another id.
func TestIDsThatNoSessionCanHave(t *testing.T) {
	long := strings.Repeat("a", 513)
	for name, tt := range map[string]struct {
		id    string
		store gsession.Storage
		text  string
	}{
		"empty":                  {"", newFew(), "needs an id"},
		"empty, direct store":    {"", newKeyed(), "needs an id"},
		"long":                   {long, newFew(), "512 bytes"},
		"long, direct store":     {long, newKeyed(), "512 bytes"},
		"space in a file":        {"a b", gsession.NewStorageFile(t.TempDir(), time.Hour), "can't name a file"},
		"file elsewhere":         {"../../x", gsession.NewStorageFile(t.TempDir(), time.Hour), "can't name a file"},
		"long for a file":        {strings.Repeat("a", 201), gsession.NewStorageFile(t.TempDir(), time.Hour), "can't name a file"},
		"control sign in a file": {"a\x00", gsession.NewStorageFile(t.TempDir(), time.Hour), "can't name a file"},
	} {
		t.Run(name, func(t *testing.T) {
			var log []string
			chain := layer.Chain(tt.store, wrapped("A", &log, nil))
			_, direct := tt.store.(*keyed)
			for op, err := range ops(t.Context(), chain, tt.id) {
				writes := op == "SetSession" || direct && (op == "Set" || op == "SetMap")
				keys := op == "Get" || op == "Data" || op == "GetMap" || op == "GetSize" || op == "Set" || op == "SetMap" || op == "Remove"
				switch {
				case writes:
					if err == nil || !strings.Contains(err.Error(), tt.text) {
						t.Errorf("%s = %v, want %q", op, err, tt.text)
					}
				case keys && !direct:
					if !errors.Is(err, gsession.ErrorDisabled) {
						t.Errorf("%s = %v, want ErrorDisabled", op, err)
					}
				case err != nil:
					t.Errorf("%s = %v", op, err)
				}
			}
			if m, err := chain.GetSession(t.Context(), tt.id, time.Hour); m != nil || err != nil {
				t.Errorf("GetSession = %v, %v, want no session", m, err)
			}
			if len(log) > 0 {
				t.Errorf("a layer was asked: %q", log)
			}
			if tt.id == "" || direct {
				return
			}
			session := gsession.New(time.Hour, chain).New(t.Context(), tt.id)
			if got := session.MustGet("user"); !got.IsNil() {
				t.Errorf("the page isn't anonymous: %v", got)
			}
			session.MustSet("user", "ann")
			if err := session.Close(); err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Close = %v, want %q", err, tt.text)
			}
			next := session.MustRegenerateId(true)
			if err := session.Close(); err != nil {
				t.Errorf("Close under a new id: %v", err)
			}
			if got := gsession.New(time.Hour, chain).New(t.Context(), next).MustGet("user").String(); got != "ann" {
				t.Errorf("under the new id the user is %q", got)
			}
		})
	}
	good := layer.Chain(newFew())
	if err := good.SetSession(t.Context(), long[:512], gmap.NewStrAnyMap(true), time.Hour); err != nil {
		t.Errorf("an id of 512 bytes: %v", err)
	}
}

// A job has no context to give, and GoFrame's stores take a nil one.
func TestNilContext(t *testing.T) {
	var none context.Context
	for name, store := range map[string]gsession.Storage{"snapshot": newFew(), "direct": newKeyed()} {
		t.Run(name, func(t *testing.T) {
			chain := layer.Chain(store, patientCoalesced(), patientLocal(), layer.Traced())
			for op, err := range ops(none, chain, id) {
				if err != nil && !errors.Is(err, gsession.ErrorDisabled) {
					t.Errorf("%s = %v", op, err)
				}
			}
			if _, err := chain.New(none, time.Hour); err != nil && !errors.Is(err, gsession.ErrorDisabled) {
				t.Errorf("New = %v", err)
			}
			manager := gsession.New(time.Hour, chain)
			session := manager.New(none, "job")
			session.MustSet("k", "v")
			if err := session.Close(); err != nil {
				t.Fatal(err)
			}
			session = manager.New(none, "job")
			if got := session.MustGet("k").String(); got != "v" {
				t.Errorf("read %q", got)
			}
			if err := errors.Join(session.Close(), session.RemoveAll(), chain.Flush(none), chain.Close(none)); err != nil {
				t.Error(err)
			}
		})
	}
}

// nobody is a storage as GoFrame's documentation page shows them, that wasn't made.
type nobody struct{ layer.DocumentedStorage }

func TestFromDocumentedNeedsAStorage(t *testing.T) {
	for name, s := range map[string]layer.DocumentedStorage{"nil": nil, "typed nil": (*nobody)(nil)} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "strata: layer.FromDocumented needs a storage") {
					t.Errorf("%s: panic = %q", name, text)
				}
			}()
			layer.FromDocumented(s)
		}()
	}
}

// Decorators in an order that costs work, and the chain says once what to write instead.
func TestDecoratorsInAnOrderThatCosts(t *testing.T) {
	for name, tt := range map[string]struct {
		store      gsession.Storage
		decorators []layer.Decorator
		want       []string
	}{
		"as advised":            {newFew(), []layer.Decorator{patientCoalesced(), patientLocal()}, nil},
		"one of both":           {newFew(), []layer.Decorator{patientLocal()}, nil},
		"Local first":           {newFew(), []layer.Decorator{patientLocal(), patientCoalesced()}, []string{"layer.Local stands below layer.Coalesced"}},
		"past a stranger":       {newFew(), []layer.Decorator{patientLocal(), wrapped("A", nil, nil), patientCoalesced()}, []string{"layer.Local stands below"}},
		"Snapshots first":       {newKeyed(), []layer.Decorator{layer.Snapshots(), patientCoalesced(), patientLocal()}, nil},
		"Snapshots above Local": {newKeyed(), []layer.Decorator{patientLocal(), layer.Snapshots()}, []string{"layer.Snapshots stands above"}},
	} {
		t.Run(name, func(t *testing.T) {
			var said teststore.Log
			log := layer.Traced(layer.Logger(slog.New(slog.NewTextHandler(&said, nil))))
			chain := layer.Chain(tt.store, append(tt.decorators, log)...)
			defer chain.Close(t.Context())
			for range 3 {
				if _, err := chain.GetSession(t.Context(), id, time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			if err := chain.Close(t.Context()); err != nil { // has all lines written
				t.Fatal(err)
			}
			var advice []string
			for _, a := range layer.Advice(chain) {
				advice = append(advice, a.Text)
			}
			if n := strings.Count(said.String(), "level="); n != len(tt.want) || len(advice) != len(tt.want) {
				t.Fatalf("%d lines and %q, want %q: %s", n, advice, tt.want, said.String())
			}
			for n, want := range tt.want {
				if !strings.Contains(said.String(), want) || !strings.Contains(advice[n], want) {
					t.Errorf("said %s and advised %q, want %q", said.String(), advice[n], want)
				}
			}
		})
	}
}

func TestStoreWithFewMethodsKeepsItsStyle(t *testing.T) {
	chain := layer.Chain(newFew(), wrapped("A", nil, nil))
	for op, err := range ops(t.Context(), chain, id) {
		switch op {
		case "GetSession", "SetSession", "UpdateTTL", "RemoveAll":
			if err != nil {
				t.Errorf("%s = %v", op, err)
			}
		default:
			if err != gsession.ErrorDisabled {
				t.Errorf("%s = %v, want ErrorDisabled as the store returns", op, err)
			}
		}
	}
	if newID, err := chain.New(t.Context(), time.Hour); len(newID) < 22 || err != nil {
		t.Errorf("New = %q, %v, want an id of 128 bits", newID, err)
	}
}

// readOnly has GetSession alone, writeOnly SetSession alone.
type (
	readOnly  struct{ gsession.StorageBase }
	writeOnly struct {
		gsession.StorageBase
		got map[string]any
	}
	none struct{ gsession.StorageBase }
)

func (*readOnly) GetSession(context.Context, string, time.Duration) (*gmap.StrAnyMap, error) {
	return gmap.NewStrAnyMapFrom(map[string]any{"k": "v"}), nil
}

func (w *writeOnly) SetSession(_ context.Context, _ string, m *gmap.StrAnyMap, _ time.Duration) error {
	w.got = m.Map()
	return nil
}

// A method that the store hasn't stays disabled, which a Session takes as it takes it
// from the bare store.
func TestStoreThatLacksMethods(t *testing.T) {
	session := gsession.New(time.Hour, layer.Chain(&readOnly{})).New(t.Context(), id)
	if session.MustGet("k").String() != "v" {
		t.Error("the session isn't read")
	}
	session.MustSet("k", "w")
	if err := session.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	w := &writeOnly{}
	session = gsession.New(time.Hour, layer.Chain(w)).New(t.Context(), id)
	session.MustSet("k", "w")
	if err := session.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	wantData(t, w.got, map[string]any{"k": "w"})
	session = gsession.New(time.Hour, layer.Chain(&none{})).New(t.Context(), id)
	session.MustSet("k", "w")
	if err := errors.Join(session.RemoveAll(), session.Close()); err != nil {
		t.Errorf("RemoveAll and Close = %v", err)
	}
}

func TestGetMapIsData(t *testing.T) {
	store := newKeyed()
	chain := layer.Chain(store)
	if err := chain.SetMap(t.Context(), id, map[string]any{"a": 1, "b": 2}, time.Hour); err != nil {
		t.Fatal(err)
	}
	data, err := chain.GetMap(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	wantData(t, data, map[string]any{"a": 1, "b": 2})
	if n, err := chain.GetSize(t.Context(), id); n != 2 || err != nil {
		t.Errorf("GetSize = %d, %v", n, err)
	}
}

func TestRegenerateIDOfADirectStore(t *testing.T) {
	for name, decorators := range map[string][]layer.Decorator{"bare": nil, "cached": {patientLocal()}} {
		t.Run(name, func(t *testing.T) {
			store := newKeyed()
			chain := layer.Chain(store, decorators...)
			defer chain.Close(t.Context())
			manager := gsession.New(time.Hour, chain)
			store.kept[id] = map[string]any{"user": "one", "role": "admin"}
			store.kept["session-2"] = map[string]any{"user": "two"}
			session, stranger := manager.New(t.Context(), id), manager.New(t.Context(), "session-2")
			for _, s := range []*gsession.Session{session, stranger} { // the store's map is one for both
				if s.MustGet("user").IsEmpty() {
					t.Fatal("the session isn't read")
				}
			}
			store.mu.Lock()
			store.kept[id] = map[string]any{"user": "one", "role": "guest"} // another node's write
			store.mu.Unlock()
			next, err := session.RegenerateId(true)
			if err != nil {
				t.Fatal(err)
			}
			wantData(t, store.kept[next], map[string]any{"user": "one", "role": "guest"})
			wantData(t, store.kept[id], nil)
			session.MustSet("cart", "a")
			again, err := session.RegenerateId(false)
			if err != nil {
				t.Fatal(err)
			}
			wantData(t, store.kept[again], map[string]any{"user": "one", "role": "guest", "cart": "a"})
			wantData(t, store.kept["session-2"], map[string]any{"user": "two"})
		})
	}
}

// errElsewhere says that another node removes the session.
var errElsewhere = errors.New("elsewhere")

func TestRegenerateIDOfADirectSessionThatIsLoggedOut(t *testing.T) {
	type requests struct{ old, other *gsession.Session }
	for name, tt := range map[string]struct {
		before func(t *testing.T, store *keyed, r requests)
		during func(r requests) error
	}{
		"and logged in again": {before: func(t *testing.T, store *keyed, r requests) {
			if err := r.other.RemoveAll(); err != nil {
				t.Fatal(err)
			}
			r.other.MustSet("user", "two")
		}},
		"while it is carried":                 {during: func(r requests) error { return r.other.RemoveAll() }},
		"on another node while it is carried": {during: func(r requests) error { return errElsewhere }},
	} {
		t.Run(name, func(t *testing.T) {
			store := newKeyed()
			store.kept[id] = map[string]any{"user": "one"}
			manager := gsession.New(time.Hour, layer.Chain(store))
			r := requests{manager.New(t.Context(), id), manager.New(t.Context(), id)}
			r.old.MustGet("user")
			if tt.before != nil {
				tt.before(t, store, r)
			} else {
				store.during = func() {
					if err := tt.during(r); err == errElsewhere {
						delete(store.kept, id)
					} else if err != nil {
						t.Error(err)
					}
				}
			}
			if _, err := r.old.RegenerateId(true); !errors.Is(err, layer.ErrRevoked) {
				t.Errorf("RegenerateId = %v, want ErrRevoked", err)
			}
			for kept, data := range store.kept {
				if kept != id && len(data) > 0 {
					t.Errorf("the session lives on: %v", data)
				}
			}
		})
	}
}

// The request that removes a direct session may fill it again and move on.
func TestRegenerateIDAfterRemoveAllOfADirectSession(t *testing.T) {
	store := newKeyed()
	store.kept[id] = map[string]any{"user": "one"}
	session := gsession.New(time.Hour, layer.Chain(store)).New(t.Context(), id)
	if err := session.RemoveAll(); err != nil {
		t.Fatal(err)
	}
	session.MustSet("user", "two")
	next, err := session.RegenerateId(true)
	if err != nil {
		t.Fatal(err)
	}
	wantData(t, store.kept[next], map[string]any{"user": "two"})
}

// No id from a client reaches a file outside the folder, whatever decorator stands between.
func TestStorageFileBehindAStrangerStaysInItsFolder(t *testing.T) {
	outside := t.TempDir()
	folder := filepath.Join(outside, "sessions")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	chain := layer.Chain(gsession.NewStorageFile(folder, time.Hour), wrapped("A", nil, nil))
	elsewhere := filepath.Join(outside, "x.session")
	if err := os.WriteFile(elsewhere, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	for op, err := range ops(t.Context(), chain, "../x") {
		if err == nil && op == "SetSession" {
			t.Errorf("%s was accepted", op)
		}
	}
	if kept, err := os.ReadFile(elsewhere); err != nil || string(kept) != "keep" {
		t.Errorf("a file outside of the folder is %q, %v", kept, err)
	}
	session := gsession.New(time.Hour, chain).New(t.Context())
	session.MustSet("k", "v")
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
}

// stuck is a layer whose Close does as a test wants.
type stuck struct {
	gsession.Storage
	close func(ctx context.Context) error
}

func (s stuck) Close(ctx context.Context) error { return s.close(ctx) }

// A layer that ignores the context of Close holds nobody up; one that heeds it says what it
// hasn't done.
func TestCloseReturnsByItsContext(t *testing.T) {
	for name, c := range map[string]struct {
		ignores bool
		want    string
	}{
		"it is ignored": {true, "strata: a layer of the chain had not ended when the chain was closed"},
		"it is heeded":  {false, "3 changes"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				chain := layer.Chain(teststore.New(), func(inner gsession.Storage) gsession.Storage {
					return &stuck{inner, func(ctx context.Context) error {
						if c.ignores {
							<-release
							return nil
						}
						<-ctx.Done()
						time.Sleep(time.Millisecond)
						return errors.New("3 changes")
					}}
				})
				began := time.Now()
				for range 2 {
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					defer cancel()
					err := chain.Close(ctx)
					if err == nil || !strings.HasPrefix(err.Error(), c.want) || c.ignores && !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("Close returned %v, want %q", err, c.want)
					}
				}
				if waited := time.Since(began); waited > 3*time.Second {
					t.Errorf("waited %v", waited)
				}
				close(release)
				synctest.Wait()
				if err := chain.Close(context.Background()); c.ignores && err != nil {
					t.Errorf("once it has ended, Close returns %v", err)
				}
			})
		})
	}
}

// A panic of a layer's Close is raised in the caller of the chain's Close.
func TestAPanicOfALayersCloseIsTheCallers(t *testing.T) {
	chain := layer.Chain(teststore.New(), func(inner gsession.Storage) gsession.Storage {
		return &stuck{inner, func(context.Context) error { panic("layer") }}
	})
	defer func() {
		if r := recover(); r != "layer" {
			t.Errorf("recovered %v", r)
		}
	}()
	_ = chain.Close(context.Background())
}

// A journal that can't be opened is an error of New's, a panic of Chain's with the reason, and
// a chain that can't be built keeps nothing open.
func TestAChainThatCannotBeBuiltKeepsNothingOpen(t *testing.T) {
	t.Parallel()
	store := teststore.New()
	dir := t.TempDir()
	coalesced := patientCoalesced(layer.WriteBehind(time.Second), layer.Journal(dir))
	func() {
		defer func() {
			if reason, ok := recover().(string); !ok || !strings.Contains(reason, "decorator 2 of layer.Chain is nil") {
				t.Errorf("Chain panics with %v", reason)
			}
		}()
		layer.Chain(store, coalesced, nil)
	}()
	first, err := layer.New(store, coalesced)
	if err != nil {
		t.Fatalf("a chain that couldn't be built keeps the journal open: %v", err)
	}
	defer func() { _ = first.Close(context.Background()) }()
	if second, err := layer.New(store, coalesced, patientLocal()); second != nil || err == nil || !strings.Contains(err.Error(), "directory of its own") {
		t.Errorf("New returns %v, %v", second, err)
	}
	defer func() {
		if reason, ok := recover().(string); !ok || !strings.Contains(reason, "directory of its own") {
			t.Errorf("Chain panics with %v", reason)
		}
	}()
	layer.Chain(store, coalesced)
}

package sessionmap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/errors/gerror"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// blobs is a snapshot store in memory that keeps JSON, as GoFrame's Redis and File
// do. during runs in every GetSession, fail returns the calls.
type blobs struct {
	gsession.StorageBase

	mu     sync.Mutex
	kept   map[string][]byte
	during func()
	fail   error
	wrote  map[string]int

	removing func() // runs in RemoveAll, before it removes
}

func newBlobs() *blobs { return &blobs{kept: map[string][]byte{}, wrote: map[string]int{}} }

func (b *blobs) GetSession(_ context.Context, id string, _ time.Duration) (*gmap.StrAnyMap, error) {
	if b.during != nil {
		b.during()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var data values
	if b.kept[id] == nil || b.fail != nil {
		return nil, b.fail
	}
	err := json.Unmarshal(b.kept[id], &data)
	return gmap.NewStrAnyMapFrom(data, true), err
}

func (b *blobs) SetSession(_ context.Context, id string, m *gmap.StrAnyMap, _ time.Duration) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	b.wrote[id]++
	b.kept[id], err = json.Marshal(m)
	return err
}

func (b *blobs) RemoveAll(_ context.Context, id string) error {
	if b.removing != nil {
		b.removing()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.kept, id)
	return b.fail
}

func TestCommitsUnderLockLoseNothing(t *testing.T) {
	folder := t.TempDir()
	for name, store := range map[string]gsession.Storage{
		"blobs":         newBlobs(),
		"StorageMemory": gsession.NewStorageMemory(),
		"StorageFile":   gsession.NewStorageFile(folder, ttl),
	} {
		t.Run(name, func(t *testing.T) {
			p := Adapt(store)
			var all sync.WaitGroup
			for n := range 8 {
				all.Go(func() {
					for round := range 10 {
						d, err := tiers.Add(values{fmt.Sprint(n, "-", round): "x"})
						if err == nil {
							_, err = p.Commit(context.Background(), id, d, ttl)
						}
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			read, err := p.Load(t.Context(), id, ttl)
			if err != nil || read.Snapshot.Len() != 80 {
				t.Errorf("%d of 80 keys are left, %v", read.Snapshot.Len(), err)
			}
		})
	}
}

// StorageMemory hands out the map that it keeps.
func TestStorageMemoryIsIsolated(t *testing.T) {
	store := gsession.NewStorageMemory()
	p := Adapt(store)
	d, _ := tiers.Replace(values{"list": []any{"a"}})
	if _, err := p.Commit(t.Context(), id, d, ttl); err != nil {
		t.Fatal(err)
	}
	d.Set()["list"].([]any)[0] = "changed in the delta"
	first, _ := p.Load(t.Context(), id, ttl)
	first.Snapshot.Map()["list"].([]any)[0] = "changed in a copy"
	kept, err := store.GetSession(t.Context(), id, ttl)
	if err != nil {
		t.Fatal(err)
	}
	kept.Get("list").([]any)[0] = "changed in the store"
	wantData(t, first.Snapshot.Map(), values{"list": []any{"a"}})

	d, _ = tiers.Diff(first.Snapshot, values{"list": []any{"b"}, "other": []any{"c"}})
	if _, err = p.Commit(t.Context(), id, d, ttl); err != nil {
		t.Fatal(err)
	}
	d.Set()["other"].([]any)[0] = "changed in the delta"
	kept, _ = store.GetSession(t.Context(), id, ttl)
	wantData(t, kept.Map(), values{"list": []any{"b"}, "other": []any{"c"}})
}

func TestCommitToASessionThatIsGone(t *testing.T) {
	b := newBlobs()
	p := Adapt(b)
	base := tiers.Adopt(values{"user": "one"})
	for name, set := range map[string]func(){
		"absent": func() { delete(b.kept, id) },
		"empty":  func() { b.kept[id] = []byte("{}") },
	} {
		set()
		before := string(b.kept[id])
		update, _ := tiers.Diff(base, values{"user": "one", "cart": "a"})
		_, err := p.Commit(t.Context(), id, update, ttl)
		wantRevoked(t, err)
		empty, _ := tiers.Diff(base, base.Map())
		_, err = p.Commit(t.Context(), id, empty, ttl)
		wantRevoked(t, err)
		cleared, _ := tiers.Diff(base, values{})
		if _, err = p.Commit(t.Context(), id, cleared, ttl); err != nil {
			t.Errorf("%s: Commit of a cleared session = %v", name, err)
		}
		if string(b.kept[id]) != before {
			t.Errorf("%s: the store was written: %s", name, b.kept[id])
		}
	}
}

// A commit that has read the session when it is removed must not write it back.
func TestRemovalWaitsForACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlobs()
		b.kept[id] = []byte(`{"user":"one"}`)
		p := Adapt(b)
		read, goOn := make(chan struct{}), make(chan struct{})
		b.during = func() { close(read); <-goOn }
		d, _ := tiers.Diff(tiers.Adopt(values{"user": "one"}), values{"user": "two"})
		committed, removed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := p.Commit(t.Context(), id, d, ttl)
			committed <- err
		}()
		<-read
		b.during = nil
		go func() { removed <- p.RemoveAll(t.Context(), id) }()
		synctest.Wait()
		if len(removed) > 0 {
			t.Error("RemoveAll returned while a commit was under way")
		}
		other, _ := tiers.Add(values{"a": 1})
		if _, err := p.Commit(t.Context(), "session-2", other, ttl); err != nil {
			t.Errorf("a commit of another session: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Commit(ctx, id, d, ttl); !errors.Is(err, context.Canceled) {
			t.Errorf("a commit whose caller has gone waits: %v", err)
		}
		close(goOn)
		if err := errors.Join(<-committed, <-removed); err != nil {
			t.Fatal(err)
		}
		if b.kept[id] != nil {
			t.Errorf("the session is back: %s", b.kept[id])
		}
	})
}

// Nor may one that begins while it is removed.
func TestCommitWaitsForARemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlobs()
		b.kept[id] = []byte(`{"user":"one"}`)
		p := Adapt(b)
		removing, goOn := make(chan struct{}), make(chan struct{})
		b.removing = func() { close(removing); <-goOn }
		d, _ := tiers.Diff(tiers.Adopt(values{"user": "one"}), values{"user": "two"})
		committed, removed := make(chan error, 1), make(chan error, 1)
		go func() { removed <- p.RemoveAll(t.Context(), id) }()
		<-removing
		go func() {
			_, err := p.Commit(t.Context(), id, d, ttl)
			committed <- err
		}()
		synctest.Wait()
		if len(committed) > 0 {
			t.Error("a commit returned while the session was being removed")
		}
		close(goOn)
		if err := <-removed; err != nil {
			t.Fatal(err)
		}
		wantRevoked(t, <-committed)
	})
}

func TestPanicOfTheStoreReleasesTheLock(t *testing.T) {
	b := newBlobs()
	p := Adapt(b).(*adapter)
	d, _ := tiers.Add(values{"a": 1})
	b.during = func() { panic("store") }
	func() {
		defer func() {
			if recover() != "store" {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = p.Commit(t.Context(), id, d, ttl)
	}()
	b.during = nil
	if _, err := p.Commit(t.Context(), id, d, ttl); err != nil || len(p.locks.locks) != 0 {
		t.Errorf("Commit = %v, %d locks are left", err, len(p.locks.locks))
	}
}

// perKey is a store whose calls answer what the fields say.
type perKey struct {
	*blobs
	get, data error
	values    values
	asked     []string
}

func (p *perKey) Get(_ context.Context, id, key string) (any, error) {
	p.asked = append(p.asked, id)
	return p.values[key], p.get
}

func (p *perKey) Data(_ context.Context, id string) (map[string]any, error) {
	p.asked = append(p.asked, id)
	return p.values, p.data
}

func TestStyleIsProbedOnce(t *testing.T) {
	wrapped := gerror.Wrap(gsession.ErrorDisabled, "not here")
	for name, tt := range map[string]struct {
		get, data error
		want      tiers.Style
	}{
		"both disabled": {gsession.ErrorDisabled, gsession.ErrorDisabled, tiers.StyleSnapshot},
		"wrapped":       {wrapped, fmt.Errorf("no: %w", gsession.ErrorDisabled), tiers.StyleSnapshot},
		"both returned": {nil, nil, tiers.StyleDirect},
		"only Data":     {gsession.ErrorDisabled, nil, tiers.StyleOpaque},
		"only Get":      {nil, gsession.ErrorDisabled, tiers.StyleOpaque},
	} {
		t.Run(name, func(t *testing.T) {
			store := &perKey{blobs: newBlobs(), get: tt.get, data: tt.data}
			p := Adapt(store)
			for range 3 {
				if got := p.Style(t.Context()); got != tt.want {
					t.Fatalf("Style = %d, want %d", got, tt.want)
				}
			}
			if len(store.asked) != 2 || store.asked[0] != probeID {
				t.Errorf("the store was asked %v", store.asked)
			}
		})
	}
	for want, store := range map[tiers.Style]gsession.Storage{
		tiers.StyleSnapshot: gsession.NewStorageMemory(),
		tiers.StyleDirect:   &gsession.StorageRedisHashTable{},
	} {
		if got := Adapt(store).Style(t.Context()); got != want {
			t.Errorf("Style of %T = %d, want %d", store, got, want)
		}
	}
}

// A circuit breaker that is open, or a caller that has gone, at the first call of a
// process says nothing about the store.
func TestStyleIsNotSettledByFailures(t *testing.T) {
	down := errors.New("down")
	for _, want := range []tiers.Style{tiers.StyleSnapshot, tiers.StyleDirect, tiers.StyleOpaque} {
		store := &perKey{blobs: newBlobs(), get: down, data: down}
		p := Adapt(store)
		for range 10 {
			if got := p.Style(t.Context()); got != tiers.StyleDirect {
				t.Fatalf("Style of a store that fails = %d", got)
			}
		}
		store.kept[id] = []byte(`{"a":1}`)
		if _, err := p.GetSession(t.Context(), id, ttl); err != nil {
			t.Fatal(err)
		}
		store.get, store.data = nil, nil
		if want != tiers.StyleDirect {
			store.get = gsession.ErrorDisabled
		}
		if want == tiers.StyleSnapshot {
			store.data = gsession.ErrorDisabled
		}
		if got := p.Style(t.Context()); got != want {
			t.Errorf("Style = %d, want %d", got, want)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	store := &perKey{blobs: newBlobs(), get: down, data: gsession.ErrorDisabled}
	p := Adapt(store)
	for range 2 * maxProbes {
		if got := p.Style(cancelled); got != tiers.StyleDirect {
			t.Fatalf("Style = %d before anything is settled", got)
		}
	}
	for range 2 * maxProbes {
		p.Style(t.Context())
	}
	if n := len(store.asked); n != 2*(2*maxProbes+maxProbes) {
		t.Errorf("the store was asked %d times", n)
	}
}

func TestDirectStoreIsLoadedByItsKeys(t *testing.T) {
	store := &perKey{blobs: newBlobs(), values: values{"list": []any{"a"}}}
	p := Adapt(store)
	read, err := p.Load(t.Context(), id, ttl)
	if err != nil {
		t.Fatal(err)
	}
	store.values["list"].([]any)[0] = "b"
	wantData(t, read.Snapshot.Map(), values{"list": []any{"a"}})
	store.values = values{}
	if read, err = p.Load(t.Context(), id, ttl); err != nil || read.Snapshot != nil {
		t.Errorf("Load of no keys = %v, %v; want no session", read, err)
	}
}

// One that hands out data isn't direct, and nothing of it can be cached.
func TestDirectStoreWithDataInItsMapsBecomesOpaque(t *testing.T) {
	store := &perKey{blobs: newBlobs()}
	p := Adapt(store)
	if p.Style(t.Context()) != tiers.StyleDirect {
		t.Fatal("not direct")
	}
	store.kept[id] = []byte(`{}`)
	if m, err := p.GetSession(t.Context(), id, ttl); err != nil || m == nil || p.Style(t.Context()) != tiers.StyleDirect {
		t.Fatalf("GetSession = %v, %v, Style = %d", m, err, p.Style(t.Context()))
	}
	store.kept[id] = []byte(`{"a":1}`)
	if m, err := p.GetSession(t.Context(), id, ttl); err != nil || m.Size() != 1 || p.Style(t.Context()) != tiers.StyleOpaque {
		t.Fatalf("GetSession = %v, %v, Style = %d", m, err, p.Style(t.Context()))
	}
}

func found(there bool, err error) error {
	if there {
		return errors.New("a session was found")
	}
	return err
}

func TestIDsThatLeaveTheFolderAreRefused(t *testing.T) {
	outside := t.TempDir()
	folder := filepath.Join(outside, "sessions")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(outside, "x.session")
	if err := os.WriteFile(victim, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := Adapt(gsession.NewStorageFile(folder, ttl))
	d, _ := tiers.Replace(values{"a": 1})
	for _, bad := range []string{
		"../x", "..", "a/../../x", "/x", "a/b", `..\x`, `a\b`, "x\x00", "a..b", strings.Repeat("a", 201),
	} {
		calls := map[string]func() error{
			"Load":       func() error { read, err := p.Load(t.Context(), bad, ttl); return found(read.Snapshot != nil, err) },
			"Commit":     func() error { _, err := p.Commit(t.Context(), bad, d, ttl); return err },
			"Slide":      func() error { _, err := p.Slide(t.Context(), bad, ttl); return err },
			"RemoveAll":  func() error { return p.RemoveAll(t.Context(), bad) },
			"UpdateTTL":  func() error { return p.UpdateTTL(t.Context(), bad, ttl) },
			"GetSession": func() error { m, err := p.GetSession(t.Context(), bad, ttl); return found(m != nil, err) },
			"SetSession": func() error { return p.SetSession(t.Context(), bad, locked(values{"a": 1}), ttl) },
		}
		for name, call := range calls {
			var want error // reads find none, and there is nothing to remove or slide
			if name == "Commit" || name == "SetSession" {
				want = errFileID
			}
			if err := call(); !errors.Is(err, want) {
				t.Errorf("%s of %q = %v, want %v", name, bad, err, want)
			}
		}
	}
	for _, good := range []string{"a", ".", "a.b", strings.Repeat("a", 200), gsession.NewSessionId()} {
		if _, err := p.Commit(t.Context(), good, d, ttl); err != nil {
			t.Errorf("Commit of an id of %d characters: %v", len(good), err)
		}
		if read, err := p.Load(t.Context(), good, ttl); err != nil || read.Snapshot == nil {
			t.Errorf("Load = %v, %v", read, err)
		}
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 2 {
		t.Errorf("outside of the folder: %v, %v", entries, err)
	}
	if kept, err := os.ReadFile(victim); err != nil || string(kept) != "keep" {
		t.Errorf("a file outside of the folder = %q, %v", kept, err)
	}
}

// A file that is being written is empty for a moment, which looks like no session.
func TestStorageFileIsNotReadWhileItIsWritten(t *testing.T) {
	p := Adapt(gsession.NewStorageFile(t.TempDir(), ttl))
	text := strings.Repeat("x", 1<<16)
	d, _ := tiers.Replace(values{"text": text})
	if _, err := p.Commit(t.Context(), id, d, ttl); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for range 200 {
			if _, err := p.Commit(t.Context(), id, d, ttl); err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		all.Go(func() {
			for range 200 {
				read, err := p.Load(t.Context(), id, ttl)
				if err != nil || read.Snapshot == nil {
					t.Errorf("Load = %v, %v", read, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestOfTakesWhatHasTheCapability(t *testing.T) {
	c := newCore()
	if Adapt(c) != tiers.Storage(c) {
		t.Error("a storage of the capability was adapted")
	}
	b := newBlobs()
	if p, ok := Adapt(b).(interface{ Unwrap() gsession.Storage }); !ok || p.Unwrap() != gsession.Storage(b) {
		t.Error("the adapter hides its storage")
	}
}

// halfFailing is a store whose reads, or writes, fail.
type halfFailing struct {
	gsession.StorageBase
	read, write error
}

func (f *halfFailing) GetSession(context.Context, string, time.Duration) (*gmap.StrAnyMap, error) {
	return nil, f.read
}
func (f *halfFailing) SetSession(context.Context, string, *gmap.StrAnyMap, time.Duration) error {
	return f.write
}

// A call that fails before the write was surely not applied; a write that failed may have been.
func TestWhatMayBeApplied(t *testing.T) {
	dial := fmt.Errorf("wrapped: %w", &net.OpError{Op: "dial", Err: errors.New("refused")})
	for name, test := range map[string]struct {
		store gsession.Storage
		want  bool
	}{
		"a read that fails":                    {&halfFailing{read: errors.New("away")}, false},
		"a write that fails":                   {&halfFailing{write: errors.New("away")}, true},
		"a dial, of a store that nobody knows": {&halfFailing{write: dial}, true},
	} {
		d, _ := tiers.Add(values{"k": "v"})
		_, err := Adapt(test.store).Commit(context.Background(), "a", d, time.Hour)
		if err == nil || tiers.MayBeApplied(err) != test.want {
			t.Errorf("%s: MayBeApplied(%v) = %v, want %v", name, err, !test.want, test.want)
		}
	}
	p := &adapter{inner: &gsession.StorageRedis{}}
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"a dial":                      {dial, true},
		"a server out of memory":      {fmt.Errorf("wrapped: %w", reply("OOM command not allowed when used memory > 'maxmemory'.")), true},
		"a replica":                   {reply("READONLY You can't write against a read only replica."), true},
		"a proxy without its server":  {reply("ERR backend connection lost"), false},
		"a proxy in words of its own": {reply("upstream failure"), false},
		"an empty reply":              {reply(""), false},
		"a connection that was cut":   {errors.New("cut"), false},
		"no error":                    {nil, false},
	} {
		if got := p.isRefusal(test.err); got != test.want {
			t.Errorf("StorageRedis, %s: refused %v, want %v", name, got, test.want)
		}
	}
}

// reply is an error that a server, or a proxy, has replied, as go-redis returns it.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

package layer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/frame/g"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/gogf/gf/v2/util/gconv"
	"github.com/gogf/gf/v2/util/guid"
	"github.com/gogf/gf/v2/util/gutil"

	"github.com/gf-strata/strata/layer"
)

// printers are what programs turn values into text with.
var printers = map[string]func(value any) string{
	"g.Dump": func(value any) string {
		var b bytes.Buffer
		gutil.DumpTo(&b, value, gutil.DumpOption{})
		return b.String()
	},
	"g.Dump, types": func(value any) string {
		var b bytes.Buffer
		gutil.DumpTo(&b, value, gutil.DumpOption{WithType: true})
		return b.String()
	},
	"%v":            func(value any) string { return fmt.Sprintf("%v", value) },
	"%+v":           func(value any) string { return fmt.Sprintf("%+v", value) },
	"%#v":           func(value any) string { return fmt.Sprintf("%#v", value) },
	"gconv.Map":     func(value any) string { return fmt.Sprint(gconv.Map(value)) },
	"gconv.MapDeep": func(value any) string { return fmt.Sprint(gconv.MapDeep(value)) }, //nolint:staticcheck // programs use it
	"gconv.String":  func(value any) string { return gconv.String(value) },
	"JSON":          func(value any) string { content, _ := json.Marshal(value); return string(content) },
	"walk": func(value any) string {
		var b strings.Builder
		walk(&b, reflect.ValueOf(value), map[uintptr]bool{})
		return b.String()
	},
}

// walk prints a value with all that it leads to, as printers for tests do, below unexported
// fields as well.
func walk(w io.Writer, v reflect.Value, seen map[uintptr]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return
		}
		seen[v.Pointer()] = true
		walk(w, v.Elem(), seen)
	case reflect.Interface:
		walk(w, v.Elem(), seen)
	case reflect.Struct:
		for n := range v.NumField() {
			walk(w, v.Field(n), seen)
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			walk(w, entries.Key(), seen)
			walk(w, entries.Value(), seen)
		}
	case reflect.Slice, reflect.Array:
		for n := range v.Len() {
			walk(w, v.Index(n), seen)
		}
	case reflect.String:
		_, _ = fmt.Fprintln(w, v.String())
	default:
	}
}

// Programs print what holds a session while requests write. Nothing of the chain is shown,
// and nothing is read without its lock: the race detector looks on.
func TestDumpsEndAtTheChain(t *testing.T) {
	chain := layer.Chain(gsession.NewStorageMemory(), patientCoalesced(), patientLocal(layer.Exclusive()), layer.Traced())
	defer chain.Close(t.Context())
	manager := gsession.New(time.Hour, chain)
	save := func(n int) error {
		session := manager.New(context.Background(), fmt.Sprint("secret-id-", n%50))
		session.MustSet(fmt.Sprint("secret-key-", n), "secret-value")
		return session.Close()
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				if err := save(n); err != nil {
					t.Error(err)
				}
			}
		}
	})
	defer all.Wait()
	defer close(stop)
	mine := manager.New(context.Background(), "mine")
	mine.MustSet("own", "own")
	mine.MustSet("list", []any{"own"})
	handed, err := chain.GetSession(t.Context(), "mine", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for what, value := range map[string]any{
		"session": mine, "session by value": struct{ *gsession.Session }{mine}, "manager": manager, "chain": chain, "chain by value": *chain,
		"map": map[string]any{"session": mine, "chain": chain}, "handed out": handed,
	} {
		for how, print := range printers {
			text := print(value)
			if len(text) > 4<<10 || strings.Contains(text, "secret") {
				t.Errorf("%s of a %s: %d bytes: %.300s", how, what, len(text), text)
			}
		}
	}
}

// A template's dump prints what it is given, the session included.
func TestDumpOfARequest(t *testing.T) {
	dump := func(storage gsession.Storage) string {
		var mu sync.Mutex
		var texts []string
		server := ghttp.GetServer(guid.S())
		server.SetAddr("127.0.0.1:0")
		server.SetDumpRouterMap(false)
		server.SetSessionStorage(storage)
		server.BindHandler("/", func(r *ghttp.Request) {
			r.Session.MustSet("own", "own")
			var b bytes.Buffer
			// An application's data for its templates, such as gogf/focus-single's model.
			gutil.DumpTo(&b, g.Map{"Context": &struct{ Session *ghttp.Session }{r.Session}}, gutil.DumpOption{})
			mu.Lock()
			defer mu.Unlock()
			texts = append(texts, b.String(), fmt.Sprintf("%+v", r.Session), fmt.Sprint(gconv.Map(r.Session)))
		})
		server.SetLogger(nil)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = server.Shutdown() }()
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", server.GetListenedPort()))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(texts, "\n")
	}
	chain := layer.Chain(gsession.NewStorageMemory(), patientCoalesced(), patientLocal(layer.Exclusive()), layer.Traced())
	defer chain.Close(t.Context())
	manager := gsession.New(time.Hour, chain)
	for n := range 1000 {
		session := manager.New(t.Context(), fmt.Sprint("secret-id-", n))
		session.MustSet("secret-key", "secret-value")
		if err := session.Close(); err != nil {
			t.Fatal(err)
		}
	}
	bare, layered := dump(gsession.NewStorageMemory()), dump(chain)
	if !strings.Contains(bare, "storage:") {
		t.Fatalf("the dump doesn't get to the session: %s", bare)
	}
	if len(layered) > len(bare)+4<<10 || strings.Contains(layered, "secret") {
		t.Errorf("%d bytes of a request over a chain, %d over the bare store", len(layered), len(bare))
	}
}

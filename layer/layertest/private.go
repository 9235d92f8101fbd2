package layertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/gogf/gf/v2/util/gutil"
)

var private = []check{
	{"error texts", "Errors quote ids or contents of sessions, so that a reader of the log can log in as another user.", nothing, keepsSecrets},
	{"the store's texts", "Ids and contents that the store writes into its errors end up in logs.", needsWrapped, keepsStoresSecrets},
	{"dumps", "A program that dumps its session, as templates do in develop mode, prints everybody's, and hangs.", nothing, dumpsEnd},
}

const (
	secretKey   = "secret-key-7b1e"
	secretValue = "secret-value-c92d"
)

// leaks looks for a secret in all that an error may be printed as.
func leaks(err error) error {
	for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%q", err)} {
		for _, secret := range []string{"secret-id", secretKey, secretValue} {
			if strings.Contains(text, secret) {
				return fmt.Errorf("an error's text holds a session's %s", strings.TrimPrefix(secret, "secret-")[:2])
			}
		}
	}
	return nil
}

func keepsSecrets(e *env) error {
	s := e.storage()
	cancelled, cancel := context.WithCancel(e.ctx)
	cancel()
	cycle := values{secretKey: secretValue}
	cycle["itself"] = cycle
	bad := []values{{secretKey: make(chan string)}, {secretKey: math.NaN(), "k": secretValue}, {secretKey: []any{secretValue, func() {}}}}
	if !e.direct() {
		bad = append(bad, values{secretKey: cycle})
	}
	var errs []error
	for _, id := range []string{e.id(), "../" + e.id(), e.id() + "\x00", strings.Repeat(e.id(), 1<<14)} {
		for _, data := range bad {
			errs = append(errs, e.save(s, id, data), s.SetSession(e.ctx, id, locked(data), ttl))
		}
		_, err := s.GetSession(cancelled, id, ttl)
		_, dataErr := s.Data(cancelled, id)
		_, getErr := s.Get(cancelled, id, secretKey)
		errs = append(errs, err, dataErr, getErr, s.RemoveAll(cancelled, id), s.UpdateTTL(cancelled, id, -1),
			s.SetSession(cancelled, id, locked(values{secretKey: secretValue}), 0),
			s.Set(cancelled, id, secretKey, secretValue, 0), s.Remove(cancelled, id, secretKey))
	}
	for _, err := range errs {
		e.must(leaks(err))
	}
	return nil
}

func keepsStoresSecrets(e *env) error {
	fault := &faults{}
	s, id := e.wrapped(e.T, fault.Wrap), e.id()
	fault.Fail(fmt.Errorf("SETEX %s {%q:%q} failed", id, secretKey, secretValue))
	err := errors.Join(
		e.save(s, id, values{secretKey: secretValue}),
		s.RemoveAll(e.ctx, id),
		s.UpdateTTL(e.ctx, id, ttl),
	)
	if err == nil {
		return errors.New("the store's errors got lost")
	}
	return leaks(err)
}

// mostDumped is how many bytes a dump of one session, its manager or its storage has.
const mostDumped = 8 << 10

// printers are what programs turn values into text with.
var printers = map[string]func(value any) string{
	"g.Dump": func(value any) string {
		var b strings.Builder
		gutil.DumpTo(&b, value, gutil.DumpOption{})
		return b.String()
	},
	"g.Dump with types": func(value any) string {
		var b strings.Builder
		gutil.DumpTo(&b, value, gutil.DumpOption{WithType: true})
		return b.String()
	},
	"%v":   func(value any) string { return fmt.Sprintf("%v", value) },
	"%+v":  func(value any) string { return fmt.Sprintf("%+v", value) },
	"%#v":  func(value any) string { return fmt.Sprintf("%#v", value) },
	"JSON": func(value any) string { text, _ := json.Marshal(value); return string(text) },
}

func dumpsEnd(e *env) error {
	s, mine := e.storage(), "mine"+e.id()[len("secret-id"):]
	secrets := []string{"secret-id", secretKey, secretValue}
	for range 100 {
		id := e.id()
		e.must(e.save(s, id, values{secretKey: secretValue}))
		if _, err := e.data(s, id); err != nil { // what was read may be kept as well
			return err
		}
	}
	manager := gsession.New(ttl, s)
	request := manager.New(e.ctx, mine)
	e.must(request.Set("own", "own"))
	for what, value := range map[string]any{
		"session": request, "struct with a session": struct{ Session *gsession.Session }{request}, "manager": manager, "storage": s,
	} {
		for how, print := range printers {
			text := print(value)
			if len(text) > mostDumped {
				return fmt.Errorf("%s of a %s has %d bytes, want %d at most", how, what, len(text), mostDumped)
			}
			for _, secret := range secrets {
				if strings.Contains(text, secret) {
					return fmt.Errorf("%s of a %s shows what other sessions hold", how, what)
				}
			}
		}
	}
	return request.Close()
}

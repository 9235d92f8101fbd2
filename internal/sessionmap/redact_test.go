package sessionmap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/errors/gerror"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

const marker = "MARKER-7f3a"

// listed is an error of a type that can't be compared.
type listed []string

func (l listed) Error() string { return strings.Join(l, " ") }

// failing returns every call with an error, and what it was given as well.
type failing struct{ err error }

func (f failing) New(context.Context, time.Duration) (string, error)            { return "", f.err }
func (f failing) Get(context.Context, string, string) (any, error)              { return nil, f.err }
func (f failing) GetSize(context.Context, string) (int, error)                  { return 0, f.err }
func (f failing) Data(context.Context, string) (map[string]any, error)          { return nil, f.err }
func (f failing) Remove(context.Context, string, string) error                  { return f.err }
func (f failing) RemoveAll(context.Context, string) error                       { return f.err }
func (f failing) UpdateTTL(context.Context, string, time.Duration) error        { return f.err }
func (f failing) Set(context.Context, string, string, any, time.Duration) error { return f.err }
func (f failing) SetMap(context.Context, string, map[string]any, time.Duration) error {
	return f.err
}

func (f failing) GetSession(context.Context, string, time.Duration) (*gmap.StrAnyMap, error) {
	return nil, f.err
}

func (f failing) SetSession(context.Context, string, *gmap.StrAnyMap, time.Duration) error {
	return f.err
}

// calls are all the ways to reach the store through the adapter.
func calls(ctx context.Context, p tiers.Storage) map[string]error {
	errs := map[string]error{}
	keep := func(name string, err error) { errs[name] = err }
	whole, _ := tiers.Replace(values{marker: marker})
	joining, _ := tiers.Add(values{marker: marker})
	_, err := p.Load(ctx, marker, ttl)
	keep("Load", err)
	_, err = p.Commit(ctx, marker, whole, ttl)
	keep("Commit of a whole session", err)
	_, err = p.Commit(ctx, marker, joining, ttl)
	keep("Commit", err)
	_, err = p.Slide(ctx, marker, ttl)
	keep("Slide", err)
	_, err = p.New(ctx, ttl)
	keep("New", err)
	_, err = p.Get(ctx, marker, marker)
	keep("Get", err)
	_, err = p.GetSize(ctx, marker)
	keep("GetSize", err)
	_, err = p.Data(ctx, marker)
	keep("Data", err)
	keep("Set", p.Set(ctx, marker, marker, marker, ttl))
	keep("SetMap", p.SetMap(ctx, marker, values{marker: marker}, ttl))
	keep("Remove", p.Remove(ctx, marker, marker))
	keep("RemoveAll", p.RemoveAll(ctx, marker))
	_, err = p.GetSession(ctx, marker, ttl)
	keep("GetSession", err)
	keep("SetSession", p.SetSession(ctx, marker, locked(values{marker: marker}), ttl))
	keep("UpdateTTL", p.UpdateTTL(ctx, marker, ttl))
	return errs
}

func TestErrorsOfAStoreKeepItsSecrets(t *testing.T) {
	timeout := &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded, Addr: &net.UnixAddr{Name: marker}}
	for name, cause := range map[string]error{
		"plain":          errors.New("SET " + marker),
		"wrapped":        fmt.Errorf("SET %s: %w", marker, io.ErrUnexpectedEOF),
		"gerror":         gerror.Wrapf(syscall.ECONNREFUSED, "redis SET %s", marker),
		"with a code":    gerror.NewWithOption(gerror.Option{Error: errors.New(marker), Text: marker}),
		"path":           &fs.PathError{Op: "open", Path: marker, Err: syscall.EACCES},
		"timeout":        timeout,
		"joined":         errors.Join(errors.New(marker), fs.ErrNotExist),
		"not comparable": listed{marker},
		"disabled":       gerror.Wrap(gsession.ErrorDisabled, marker),
		"cancelled":      fmt.Errorf("%s: %w", marker, context.Canceled),
		"ours":           fmt.Errorf("%s: %w", marker, tiers.NewError("strata: no", errors.New(marker))),
	} {
		t.Run(name, func(t *testing.T) {
			store := failing{cause}
			p := &adapter{inner: store}
			p.style.Store(uint32(tiers.StyleSnapshot))
			for call, err := range calls(t.Context(), p) {
				if err == nil {
					t.Fatalf("%s succeeded", call)
				}
				for _, text := range []string{
					err.Error(), fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err), fmt.Sprintf("%s", err), fmt.Sprintf("%q", err),
					fmt.Sprintf("%+v", gerror.Wrap(err, "closing")), fmt.Sprint(errors.Join(err)),
				} {
					if strings.Contains(text, marker) {
						t.Errorf("%s: the text shows what is private: %s", call, text)
					}
				}
				if _, uncomparable := cause.(listed); !uncomparable && !errors.Is(err, cause) {
					t.Errorf("%s: errors.Is doesn't reach the original", call)
				}
				var list listed
				if _, is := cause.(listed); is && !errors.As(err, &list) {
					t.Errorf("%s: errors.As doesn't reach the original", call)
				}
			}
		})
	}
	var path *fs.PathError
	if err := redact("Get", fmt.Errorf("x: %w", &fs.PathError{Op: "open", Path: marker, Err: syscall.ENOSPC})); !errors.As(err, &path) || !errors.Is(err, syscall.ENOSPC) {
		t.Error("errors.As doesn't reach a wrapped error")
	} else if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		t.Errorf("the text doesn't name the fault: %v", err)
	}
}

// Errors that callers compare with == pass as they are.
func TestErrorsThatAreConstantsPass(t *testing.T) {
	for _, err := range []error{nil, gsession.ErrorDisabled, tiers.ErrRevoked, context.Canceled, context.DeadlineExceeded, errFileID} {
		p := Adapt(failing{err})
		if got := p.RemoveAll(t.Context(), id); got != err {
			t.Errorf("RemoveAll = %v, want %v itself", got, err)
		}
	}
}

// The file's path holds the id.
func TestStorageFileErrorsKeepTheirPath(t *testing.T) {
	folder := t.TempDir()
	p := Adapt(gsession.NewStorageFile(folder, ttl))
	if err := os.Mkdir(folder+"/"+marker+".session", 0o700); err != nil {
		t.Fatal(err)
	}
	d, _ := tiers.Replace(values{"a": 1})
	_, err := p.Commit(t.Context(), marker, d, ttl)
	if err == nil || strings.Contains(fmt.Sprintf("%+v", err), marker) || strings.Contains(err.Error(), folder) {
		t.Errorf("Commit = %v", err)
	}
	var path *fs.PathError
	if !errors.As(err, &path) {
		t.Error("errors.As doesn't reach the original")
	}
}

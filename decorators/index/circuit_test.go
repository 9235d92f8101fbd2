package index

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/tiers"
)

// keeping is a store that keeps an index.
type keeping struct {
	gsession.Storage
	index principals.Index
}

func (k keeping) Indexer() principals.Index { return k.index }

// falters is an index that hangs while hangs is set. asked counts its calls.
type falters struct {
	*memory
	hangs atomic.Bool
	asked atomic.Int64
}

func (f *falters) wait(ctx context.Context) error {
	f.asked.Add(1)
	if !f.hangs.Load() {
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (f *falters) Enter(ctx context.Context, e principals.Entry, others int) (principals.Entered, error) {
	if err := f.wait(ctx); err != nil {
		return principals.Entered{}, err
	}
	return f.memory.Enter(ctx, e, others)
}

func (f *falters) Marks(ctx context.Context, shards []int) ([]principals.Marks, error) {
	if err := f.wait(ctx); err != nil {
		return nil, err
	}
	return f.memory.Marks(ctx, shards)
}

func (f *falters) Leave(ctx context.Context, entries []principals.Entry) error {
	if err := f.wait(ctx); err != nil {
		return err
	}
	return f.memory.Leave(ctx, entries)
}

// While the index hangs, not each log-in and each read of marks waits for it: most are refused at once, and it is asked now and then.
// Once it is back, all go through.
func TestAnIndexThatHangsIsAskedNowAndThen(t *testing.T) {
	for name, ask := range map[string]func(s *Storage, read func(int) error) error{
		"a read has it asked": func(_ *Storage, read func(int) error) error { _ = read(0); return nil },
		"the marks are read again": func(s *Storage, _ func(int) error) error {
			_, err := s.indexer.Marks(context.Background(), []int{0, 0})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { hangsAWhile(t, ask) })
	}
}

func hangsAWhile(t *testing.T, ask func(s *Storage, read func(int) error) error) {
	synctest.Test(t, func(t *testing.T) {
		f := &falters{memory: newMemory()}
		s := New(keeping{gsession.NewStorageMemory(), f}, userOf, Defaults())
		defer func() {
			if err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		login := func(n int) error {
			session := open(s, fmt.Sprintf("session-%03d-0123456789", n))
			return errors.Join(session.Set("user", fmt.Sprint("user", n)), session.Close())
		}
		read := func(n int) error {
			user, err := open(s, fmt.Sprintf("session-%03d-0123456789", n)).Get("user")
			if err == nil && user.String() == "" {
				err = errors.New("it isn't there")
			}
			return err
		}
		if err := login(0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // what is known of the marks is too old
		f.hangs.Store(true)
		for n := range circuit.Trips {
			if err := login(100 + n); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("log-in %d returned %v", n, err)
			}
		}
		time.Sleep(time.Minute)
		f.asked.Store(0)
		for n := range 100 {
			for name, err := range map[string]error{"log-in": login(200 + n), "read": read(0)} {
				if !errors.Is(err, circuit.ErrIndexOpen) || tiers.MayBeApplied(err) {
					t.Errorf("a %s returned %v", name, err)
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		if asked := f.asked.Load(); asked == 0 || asked > 5 {
			t.Errorf("the index was asked %d times in a second", asked)
		}
		f.hangs.Store(false)
		time.Sleep(time.Minute)
		if err := ask(s, read); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := errors.Join(login(1), read(0), read(1)); err != nil {
			t.Errorf("once it is back: %v", err)
		}
	})
}

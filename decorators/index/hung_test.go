package index

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/tiers"
)

// hung is an index that doesn't reply.
type hung struct{ *memory }

func (hung) Enter(ctx context.Context, _ principals.Entry, _ int) (principals.Entered, error) {
	<-ctx.Done()
	return principals.Entered{}, context.Cause(ctx)
}

func (hung) Marks(ctx context.Context, _ []int) ([]principals.Marks, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (hung) Leave(ctx context.Context, _ []principals.Entry) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (hung) Because(ctx context.Context, _ []string, _ principals.Reason, _ time.Duration) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// A request has no deadline of its own. It waits for an index that hangs no longer than a call of layer.Users does.
func TestARequestDoesNotWaitForAnIndexThatHangs(t *testing.T) {
	const id = "session-0123456789"
	for name, use := range map[string]func(s *Storage) error{
		"a log-out": func(s *Storage) error {
			return errors.Join(open(s, id).RemoveAll(), errors.New("it has ended"))
		},
		"a log-in": func(s *Storage) error {
			session := open(s, "another-0123456789")
			return errors.Join(session.Set("user", "ann"), session.Close())
		},
		"a read": func(s *Storage) error {
			_, err := open(s, id).Get("user")
			return err
		},
		"a write": func(s *Storage) error {
			session := open(s, id)
			return errors.Join(session.Set("k", 1), session.Close())
		},
		"readers that wait for another's read": func(s *Storage) error {
			all := make(chan error)
			for range 3 {
				go func() {
					_, err := open(s, id).Get("user")
					all <- err
				}()
			}
			return errors.Join(<-all, <-all, <-all)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(gsession.NewStorageMemory(), userOf, Defaults())
				defer func() { _ = s.Close(context.Background()) }()
				logIn(t, s, id)
				if err := s.Flush(context.Background()); err != nil { // nobody uses the index now
					t.Fatal(err)
				}
				m := s.indexer.(*memory)
				s.indexer, s.marks.indexer = hung{m}, hung{m}
				s.marks.invalidateAll()
				began, done := time.Now(), make(chan error, 1)
				go func() { done <- use(s) }()
				select {
				case err := <-done:
					if err == nil {
						t.Error("no error")
					}
				case <-time.After(time.Hour):
					t.Fatal("it still waits after an hour")
				}
				if took := time.Since(began); took > 2*principals.CallTimeout {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// A log-in that a limit has end another session waits no longer for an index that hangs after it has taken the entry.
func TestALogInWithALimitDoesNotWaitForAnIndexThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := Defaults()
		options.Limit = Limit{Most: 1}
		s := New(gsession.NewStorageMemory(), userOf, options)
		defer func() { _ = s.Close(context.Background()) }()
		logIn(t, s, "session-0123456789")
		if err := s.Flush(context.Background()); err != nil { // nobody uses the index now
			t.Fatal(err)
		}
		s.indexer = entering{hung{s.indexer.(*memory)}}
		began, done := time.Now(), make(chan error, 1)
		go func() {
			session := open(s, "another-0123456789")
			done <- errors.Join(session.Set("user", "ann"), session.Close())
		}()
		select {
		case err := <-done:
			if err == nil || tiers.MayBeApplied(err) {
				t.Errorf("it returned %v", err)
			}
		case <-time.After(time.Hour):
			t.Fatal("it still waits after an hour")
		}
		if took := time.Since(began); took > 2*principals.CallTimeout {
			t.Errorf("it took %v", took)
		}
	})
}

// entering is an index that hangs except for entries.
type entering struct{ hung }

func (e entering) Enter(ctx context.Context, entry principals.Entry, read int) (principals.Entered, error) {
	return e.memory.Enter(ctx, entry, read)
}

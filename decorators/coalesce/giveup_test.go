package coalesce_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// exports has a layer report, and returns what a reader gets of it: each value that isn't
// zero, by its metric and outcome without what all have in common; and its log.
func exports(t *testing.T, c *coalesce.Storage) (read func() map[string]float64, log *teststore.Log) {
	t.Helper()
	reader, log := metric.NewManualReader(), &teststore.Log{}
	c.Report(telemetry.Config{
		Metering: metric.NewMeterProvider(metric.WithReader(reader)),
		Logger:   slog.New(slog.NewTextHandler(log, nil)),
	}.Sink())
	return func() map[string]float64 {
		var all metricdata.ResourceMetrics
		if err := reader.Collect(ctx, &all); err != nil {
			t.Error(err)
		}
		values := map[string]float64{}
		for _, m := range all.ScopeMetrics[0].Metrics {
			name := strings.TrimPrefix(strings.TrimPrefix(m.Name, "strata."), "coalesce.")
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					outcome, _ := p.Attributes.Value("strata.outcome")
					values[strings.TrimSpace(name+" "+outcome.AsString())] = float64(p.Value)
				}
			case metricdata.Gauge[float64]:
				values[name] = data.DataPoints[0].Value
			}
		}
		maps.DeleteFunc(values, func(_ string, value float64) bool { return value == 0 })
		return values
	}, log
}

func wantExported(t *testing.T, what string, got, want map[string]float64) {
	t.Helper()
	if got["pending.memory"] > 0 != (got["pending.changes"] > 0) {
		t.Errorf("%s: %v changes take %v bytes", what, got["pending.changes"], got["pending.memory"])
	}
	delete(got, "pending.memory")
	if !maps.Equal(got, want) {
		t.Errorf("%s: exported %v, want %v", what, got, want)
	}
}

func TestEachCountIsExported(t *testing.T) {
	s := teststore.New()
	for _, id := range []string{"a", "b"} {
		s.Put(id, map[string]any{"k": 0}, 2*ttl)
	}
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		read, _ := exports(t, c)
		wantExported(t, "nothing", read(), map[string]float64{})

		put(t, c, "a", "k", 1)
		time.Sleep(time.Second)
		put(t, c, "b", "k", 1)
		put(t, c, "a", "k", 2)
		time.Sleep(2 * time.Second)
		wantExported(t, "pending", read(), map[string]float64{"changes": 3, "pending.changes": 3, "pending.age": 3})

		time.Sleep(7 * time.Second) // the first is due
		synctest.Wait()
		wantExported(t, "the oldest is in the store", read(), map[string]float64{
			"changes": 3, "commits ok": 1, "pending.changes": 1, "pending.age": 9,
		})
		refusals := 0
		s.Refuse(func(string) error {
			if refusals++; refusals > 2 {
				return nil
			}
			return errors.New("away")
		})
		if err := c.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		wantExported(t, "two failures", read(), map[string]float64{"changes": 3, "commits ok": 2, "commits error": 2, "retries": 2})

		put(t, c, "b", "k", 2)
		put(t, c, "b", "k", 3)
		s.Drop("b")
		if err := c.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // what is given up is counted after the flush has seen it
		wantExported(t, "logged out elsewhere", read(), map[string]float64{
			"changes": 5, "commits ok": 2, "commits error": 2, "retries": 2, "commits revoked": 1, "give_ups revoked": 2,
		})

		s.Put("c", map[string]any{"k": 0}, ttl)
		for range 3 {
			if _, err := c.Slide(ctx, "c", ttl); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(); got["slides sent"] != 1 || got["slides skipped"] != 2 {
			t.Errorf("slides %v, want 1 sent and 2 skipped", got)
		}
	}, writeBehind(10*time.Second))
}

// Close gives up what it can't deliver and no journal keeps: all that waits at once, and
// what is at the store when it has failed. It is counted also if that is after Close.
func TestCloseGivesUpWhatItCouldNotDeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := teststore.New()
		var lost []coalesce.GiveUp
		c := coalesce.New(s, writeBehind(time.Hour), onGiveUp(func(g coalesce.GiveUp) { lost = append(lost, g) }))
		read, log := exports(t, c)
		for n := range 3 {
			id := fmt.Sprint(n)
			s.Put(id, map[string]any{"k": 0}, ttl)
			put(t, c, id, "k", 1)
		}
		put(t, c, "2", "k", 2)
		release := make(chan struct{})
		s.Refuse(func(id string) error {
			if id == "1" { // deaf to its context
				<-release
			}
			return errors.New("away")
		})
		late, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := c.Close(late); err == nil {
			t.Error("Close returned nil")
		}
		if len(lost) != 1 || lost[0].Changes != 3 || lost[0].Attempts == 0 || lost[0].Age != time.Minute {
			t.Errorf("gave up %+v, want three changes of a minute in one report", lost)
		}
		if got := read(); got["give_ups error"] != 3 || got["pending.changes"] != 1 {
			t.Errorf("exported %v, want 3 give-ups, and the change at the store pending", got)
		}
		close(release)
		synctest.Wait()
		if len(lost) != 2 || lost[1].Changes != 1 || lost[1].Attempts != 1 {
			t.Errorf("gave up %+v, want also what was at the store", lost)
		}
		if got := read(); got["give_ups error"] != 4 || got["changes"] != 4 || got["pending.changes"] != 0 {
			t.Errorf("exported %v, want 4 give-ups of 4 changes and none pending", got)
		}
		if text := log.String(); strings.Count(text, "gave up changes") != 2 {
			t.Errorf("logged %s", text)
		}
		if err := c.Flush(ctx); err != nil {
			t.Errorf("Flush returned %v after all was given up", err)
		}
	})
}

// With a journal the next process delivers it.
func TestCloseSaysWhatWaitsInTheJournal(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	gave := 0
	c := journaled(t, s, t.TempDir(), onGiveUp(func(coalesce.GiveUp) { gave++ }))
	read, log := exports(t, c)
	put(t, c, "a", "k", 1)
	s.Refuse(func(string) error { return errors.New("away") })
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.Close(over); err == nil {
		t.Error("Close returned nil")
	}
	// The change may have been tried once before the chain was closed, which is another line.
	if text := log.String(); strings.Count(text, "they wait in the journal\" changes=1") != 1 || strings.Contains(text, "gave up") {
		t.Errorf("logged %s", text)
	}
	got := read()
	if got["give_ups error"] != 0 || gave != 0 {
		t.Errorf("%v give-ups are counted and %d reported", got["give_ups error"], gave)
	}
	poll.Until(t, "a closed chain exports nothing that is pending", func() bool { // its workers are on their way out
		got = read()
		return got["pending.changes"] == 0
	})
}

// The layer reports the failure of a write whose caller has gone, and the caller's error says that
// it will.
func TestAWriteThatFailsAfterItsCallerHasGoneIsReported(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		_, log := exports(t, c)
		for n, cause := range []error{nil, errors.New("away")} {
			release := make(chan struct{})
			s.Refuse(func(string) error { <-release; return cause })
			request, cancel := context.WithCancel(ctx)
			returned := make(chan error)
			delta := change(t, get(t, c, "a"), "k", n+1)
			go func() {
				_, err := c.Commit(request, "a", delta, ttl)
				returned <- err
			}()
			synctest.Wait()
			cancel()
			if err := <-returned; !errors.Is(err, failure.ErrUnderWay) || !errors.Is(err, context.Canceled) {
				t.Errorf("returned %v, want that it is under way", err)
			}
			close(release)
			synctest.Wait()
			if logged := strings.Contains(log.String(), "could not be written"); logged != (cause != nil) {
				t.Errorf("cause %v: logged %q", cause, log)
			}
		}
	})
}

// lose has a change of a session accepted, and given up, as another node logs its user out.
func lose(t *testing.T, s *teststore.Store, c *coalesce.Storage, k int) {
	t.Helper()
	s.Put("a", map[string]any{"k": 0}, ttl)
	put(t, c, "a", "k", k)
	s.Drop("a")
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// The first report goes at once, and those of the ten seconds after it are one, in the log as well.
func TestReportsOfTenSecondsAreOne(t *testing.T) {
	s := teststore.New()
	lost := make(chan int, 3)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		_, log := exports(t, c)
		for n := range 3 {
			lose(t, s, c, n+1)
			time.Sleep(time.Second)
		}
		want := func(n int) {
			t.Helper()
			synctest.Wait()
			select {
			case got := <-lost:
				if got != n || len(lost) > 0 {
					t.Errorf("%d changes are reported, and %d reports more, want %d and no more", got, len(lost), n)
				}
			default:
				t.Errorf("nothing is reported, want %d changes", n)
			}
		}
		want(1)
		time.Sleep(10 * time.Second)
		want(2)
		if text := log.String(); strings.Count(text, "gave up changes") != 2 || !strings.Contains(text, "changes=2") {
			t.Errorf("logged %s", text)
		}
	}, writeBehind(time.Hour), onGiveUp(func(g coalesce.GiveUp) { lost <- g.Changes }))
}

// A report of several changes has the cause that isn't a removed session, whichever came last: an alarm that
// leaves log-outs out would miss the others.
func TestALogOutHidesNoOtherLoss(t *testing.T) {
	for name, losses := range map[string][]error{
		"a conflict, then a log-out": {tiers.ErrConflict, tiers.ErrRevoked},
		"a log-out, then a conflict": {tiers.ErrRevoked, tiers.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			s := teststore.New()
			s.Put("a", map[string]any{"k": 0}, ttl)
			var causes []error
			bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
				for k, loss := range append([]error{tiers.ErrRevoked}, losses...) { // the first has a report of its own
					s.Refuse(func(string) error { return loss })
					put(t, c, "a", "k", k+1)
					if err := c.Flush(ctx); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
			}, writeBehind(time.Hour), onGiveUp(func(g coalesce.GiveUp) { causes = append(causes, g.Cause) }))
			if len(causes) != 2 || !errors.Is(causes[1], tiers.ErrConflict) {
				t.Errorf("reported %v, want the conflict in the second report", causes)
			}
		})
	}
}

// A callback that ends its goroutine, as a test's FailNow does, is called for the next report too.
func TestACallbackThatEndsItsGoroutine(t *testing.T) {
	s := teststore.New()
	calls := 0
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		for n := range 3 {
			lose(t, s, c, n+1)
			if synctest.Wait(); calls != n+1 {
				t.Errorf("the callback was called %d times, want %d", calls, n+1)
			}
		}
	}, writeBehind(time.Hour), onGiveUp(func(coalesce.GiveUp) { calls++; runtime.Goexit() }))
}

// A panic of the callback ends the process, and is what its output says.
func TestAPanicOfTheCallbackIsShown(t *testing.T) {
	if os.Getenv("STRATA_CALLBACK_PANICS") == "" {
		test := exec.Command(os.Args[0], "-test.run=^TestAPanicOfTheCallbackIsShown$")
		test.Env = append(os.Environ(), "STRATA_CALLBACK_PANICS=1")
		if output, err := test.CombinedOutput(); err == nil || !strings.Contains(string(output), "panic: of the callback") || strings.Contains(string(output), "fatal error") {
			t.Errorf("%v:\n%s", err, output)
		}
		return
	}
	s := teststore.New()
	c := coalesce.New(s, writeBehind(time.Hour), onGiveUp(func(coalesce.GiveUp) { panic("of the callback") }))
	s.Put("a", map[string]any{"k": 0}, ttl)
	put(t, c, "a", "k", 1)
	s.Drop("a")
	_ = c.Close(ctx)
	<-time.After(time.Minute)
}

// stuck is a logger whose lines wait for its release.
type stuck struct {
	slog.Handler
	release chan struct{}
}

func (s stuck) Handle(context.Context, slog.Record) error { <-s.release; return nil }

// Neither a request nor Close waits for a log that hangs.
func TestNothingWaitsForTheLog(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	s.Put("b", map[string]any{"k": 0}, ttl)
	log := stuck{slog.NewTextHandler(io.Discard, nil), make(chan struct{})}
	c := journaled(t, s, t.TempDir())
	c.Report(telemetry.Config{Logger: slog.New(log)}.Sink())
	broken := journaled(t, s, t.TempDir())
	broken.Report(telemetry.Config{Logger: slog.New(log)}.Sink())
	defer close(log.release)
	put(t, c, "a", "k", 1)
	delta := change(t, get(t, broken, "b"), "k", 1)
	coalesce.BreakJournal(broken)
	returned := make(chan error, 2)
	go func() {
		_, err := broken.Commit(ctx, "b", delta, ttl)
		returned <- err
	}()
	go func() {
		over, cancel := context.WithCancel(ctx)
		cancel()
		_ = c.Close(over)
		returned <- nil
	}()
	for range 2 {
		select {
		case err := <-returned:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("a log that hangs holds up a request, or Close")
		}
	}
}

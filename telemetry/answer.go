package telemetry

import (
	"context"
	"sync/atomic"
)

// Answer is told how memory answered a read whose result has no room for that: those of
// a direct store. It is safe for concurrent use; outcome is atomic.
type Answer struct{ outcome atomic.Pointer[Outcome] }

// answerKey is the context key of an [Answer].
type answerKey struct{}

// asking is how many answers are waited for, so that nobody else looks for one.
var asking atomic.Int64

// Ask is followed by the read in the context that it answers, and by [Answer.Or].
func Ask(ctx context.Context) (context.Context, *Answer) {
	asking.Add(1)
	a := &Answer{}
	return context.WithValue(ctx, answerKey{}, a), a
}

// Or is what was told, or the outcome where nobody did. It is called once.
func (a *Answer) Or(outcome Outcome) Outcome {
	asking.Add(-1)
	if told := a.outcome.Load(); told != nil {
		return *told
	}
	return outcome
}

// Answered tells the span that waits for it, if there is one, how a read was answered.
func Answered(ctx context.Context, outcome Outcome) {
	if asking.Load() == 0 {
		return
	}
	if a, ok := ctx.Value(answerKey{}).(*Answer); ok {
		a.outcome.Store(&outcome)
	}
}

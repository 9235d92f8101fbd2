package crew

import "context"

// Within is a context with the values of a caller's and the end of its owner's: for what
// goes on when the caller has gone, and no longer than the owner lives.
func Within(owner, caller context.Context) context.Context {
	return within{Context: owner, values: context.WithoutCancel(caller)}
}

type within struct {
	context.Context
	values context.Context
}

// Value also returns that by which package context finds the owner's children.
func (w within) Value(key any) any {
	if value := w.values.Value(key); value != nil {
		return value
	}
	return w.Context.Value(key)
}

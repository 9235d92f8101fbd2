package sessionmap

import "context"

// adapted is what an adapter tells the Maps below it, past the strangers between them,
// of a call: that it comes from no request, so that the Maps needn't infer from an
// earlier absence what a map stands for. It isn't bound to an id, which a stranger may
// change. One that drops the context's values leaves the Maps to infer.
type adapted uint8

const (
	adaptedNot     adapted = iota // the call is a request's
	adaptedCreate                 // a write of what found no session
	adaptedReplace                // a write of a whole session
)

type adaptedKey struct{}

// adapt tells the Maps below what a call is.
func adapt(ctx context.Context, call adapted) context.Context {
	return context.WithValue(ctx, adaptedKey{}, call)
}

// adaptedCall returns what an adapter above told.
func adaptedCall(ctx context.Context) adapted {
	call, _ := ctx.Value(adaptedKey{}).(adapted)
	return call
}

package tiers

import "context"

// Advice is something about a chain that works and would work better, or safer, otherwise.
type Advice struct {
	Topic string `json:"topic"` // one word, such as "prefix"
	Text  string `json:"text"`  // what it is and what to do instead
}

// Adviser is the capability of a layer that can look for such things. It asks its server once
// at most, and leaves out what it can't find out.
type Adviser interface {
	Advise(ctx context.Context) []Advice
}

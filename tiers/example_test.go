package tiers_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// counting is a decorator of somebody's own that keeps the capability: it embeds what
// Of answers, and looks at one method.
type counting struct {
	tiers.Storage
	loads int
}

func (c *counting) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	c.loads++
	return c.Storage.Load(ctx, id, ttl)
}

func ExampleOf() {
	c := &counting{Storage: tiers.Of(gsession.NewStorageMemory())}
	read, err := c.Load(context.Background(), "an-id", time.Hour)
	fmt.Println(read.Snapshot.Len(), err, c.loads)
	// Output: 0 <nil> 1
}

// A face turns a capability into maps for requests, and their maps into deltas.
func ExampleNewFace() {
	ctx := context.Background()
	face := tiers.NewFace(tiers.Of(gsession.NewStorageMemory()))
	m, _ := face.GetSession(ctx, "an-id", time.Hour)
	m.Set("user", "john")
	fmt.Println(face.SetSession(ctx, "an-id", m, time.Hour))
	// Output: <nil>
}

// What a request changed joins what others have committed meanwhile.
func ExampleDiff() {
	base, _ := tiers.NewSnapshot(map[string]any{"user": "john", "theme": "light"})
	delta, _ := tiers.Diff(base, map[string]any{"user": "john", "theme": "dark"})

	meanwhile, _ := tiers.NewSnapshot(map[string]any{"user": "john", "theme": "light", "cart": "full"})
	fmt.Println(delta.Apply(meanwhile))

	_, err := delta.Apply(nil) // logged out meanwhile
	fmt.Println(errors.Is(err, tiers.ErrRevoked))
	// Output:
	// map[cart:full theme:dark user:john] <nil>
	// true
}

// An entry is served while its stamp is the one that the guard answers.
func ExampleNewGuard() {
	guard := tiers.NewGuard(tiers.DefaultGuardSlots)
	hash := guard.Hash("an-id")
	stamp := guard.Hold(hash) // before the load
	fmt.Println(guard.Stamp(hash) == stamp)
	guard.Bump(hash) // after a write
	fmt.Println(guard.Stamp(hash) == stamp)
	// Output:
	// true
	// false
}

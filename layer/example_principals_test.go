package layer_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
)

// owner says whose a session is: handlers set "user" at a log-in.
func owner(data map[string]any) string {
	user, _ := data["user"].(string)
	return user
}

// signIn is a request that logs a user in on a device.
func signIn(manager *gsession.Manager, id, user, device string) error {
	ctx := layer.WithDescription(context.Background(), map[string]string{layer.DescribedDevice: device})
	s := manager.New(ctx, id)
	return errors.Join(s.Set("user", user), s.Close())
}

// whoIs is a request that asks who is logged in.
func whoIs(manager *gsession.Manager, id string) string {
	user := manager.New(context.Background(), id).MustGet("user").String()
	if user == "" {
		return "nobody"
	}
	return user
}

// One device at a time: a new log-in ends the one before.
func ExampleLimit() {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Coalesced(), layer.Local(),
		layer.Indexed(owner, layer.Limit(1, layer.EndOldest)))
	defer func() { _ = chain.Close(context.Background()) }()
	manager, users := gsession.New(time.Hour, chain), layer.Principals(chain)

	fmt.Println(signIn(manager, "on-the-phone", "ann", "mobile"))
	fmt.Println(signIn(manager, "on-the-desk", "ann", "desktop"))

	fmt.Println(whoIs(manager, "on-the-phone"), whoIs(manager, "on-the-desk"))
	fmt.Println(users.Reason(context.Background(), "on-the-phone"))
	// Output:
	// <nil>
	// <nil>
	// nobody ann
	// displaced <nil>
}

// One device of each class, and a log-in beyond that is refused.
func ExamplePerDeviceClass() {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Indexed(owner, layer.Limit(1, layer.RefuseNew, layer.PerDeviceClass())))
	defer func() { _ = chain.Close(context.Background()) }()
	manager := gsession.New(time.Hour, chain)

	fmt.Println(signIn(manager, "on-the-phone", "ann", "mobile"))
	fmt.Println(signIn(manager, "on-the-desk", "ann", "desktop"))
	fmt.Println(errors.Is(signIn(manager, "on-another-desk", "ann", "desktop"), layer.ErrLimit))
	// Output:
	// <nil>
	// <nil>
	// true
}

// List my devices.
func ExampleUsers_List() {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Indexed(owner))
	defer func() { _ = chain.Close(ctx) }()
	manager, users := gsession.New(time.Hour, chain), layer.Principals(chain)
	_ = signIn(manager, "on-the-phone", "ann", "mobile")
	_ = signIn(manager, "on-the-desk", "ann", "desktop")

	mine, _ := users.Handle(ctx, "on-the-desk") // web.Handle(r) in a handler
	list, _, err := users.List(ctx, "ann", "")
	for _, s := range list {
		fmt.Println(s.Described[layer.DescribedDevice], time.Since(s.Seen) < time.Minute, s.Handle == mine)
	}
	fmt.Println(err)
	// Unordered output:
	// mobile true false
	// desktop true true
	// <nil>
}

// Kick a user: one session, or all of them.
func ExampleUsers_Revoke() {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Indexed(owner))
	defer func() { _ = chain.Close(ctx) }()
	manager, users := gsession.New(time.Hour, chain), layer.Principals(chain)
	_ = signIn(manager, "on-the-phone", "ann", "mobile")

	running := manager.New(ctx, "on-the-phone") // a request that is under way
	running.MustSet("cart", 3)

	list, _, _ := users.List(ctx, "ann", "")
	fmt.Println(users.Revoke(ctx, list[0].Handle, layer.ReasonEndedByAdmin))

	fmt.Println(whoIs(manager, "on-the-phone"))
	err := running.Close()
	fmt.Println(errors.Is(err, layer.ErrRevoked), layer.ReasonOf(err))
	// Output:
	// <nil>
	// nobody
	// true ended_by_admin
}

// The password was changed: all other sessions end, and this one goes on.
func ExampleUsers_RevokeAll() {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Indexed(owner))
	defer func() { _ = chain.Close(ctx) }()
	manager, users := gsession.New(time.Hour, chain), layer.Principals(chain)
	for _, id := range []string{"on-the-phone", "on-the-desk", "of-a-thief"} {
		_ = signIn(manager, id, "ann", "")
	}

	mine, _ := users.Handle(ctx, "on-the-desk")
	fmt.Println(users.RevokeAll(ctx, "ann", layer.ReasonPasswordChanged, mine))

	fmt.Println(whoIs(manager, "on-the-phone"), whoIs(manager, "of-a-thief"), whoIs(manager, "on-the-desk"))
	// Output:
	// 2 <nil>
	// nobody nobody ann
}

// Roles were changed: they are effective in all sessions, and nobody logs in anew.
func ExampleUsers_Update() {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Indexed(owner))
	defer func() { _ = chain.Close(ctx) }()
	manager, users := gsession.New(time.Hour, chain), layer.Principals(chain)
	_ = signIn(manager, "on-the-phone", "ann", "")
	_ = signIn(manager, "on-the-desk", "ann", "")

	fmt.Println(users.Update(ctx, "ann", func(s *layer.Changes) error {
		s.Set("role", "editor")
		return nil
	}))

	fmt.Println(manager.New(ctx, "on-the-phone").MustGet("role"), manager.New(ctx, "on-the-desk").MustGet("role"))
	// Output:
	// 2 <nil>
	// editor editor
}

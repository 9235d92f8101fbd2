package redistest

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// A relay that redials loses no command and gives no sign, and what was set up is gone.
func TestRedialIsSilent(t *testing.T) {
	s := Start(t)
	proxy := StartProxy(t, s.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), MaxRetries: -1})
	defer func() { _ = client.Close() }()
	ctx, busy := context.Background(), client.Conn()
	defer func() { _ = busy.Close() }()
	tracked := client.Conn()
	defer func() { _ = tracked.Close() }()
	tracking := func() bool {
		t.Helper()
		info, err := tracked.Do(ctx, "client", "list", "id", tracked.ClientID(ctx).Val()).Text()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(info, " flags=tB ")
	}
	if err := tracked.Do(ctx, "client", "tracking", "on", "bcast").Err(); err != nil || !tracking() {
		t.Fatalf("CLIENT TRACKING isn't on: %v", err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := int64(1); ; n++ {
			if got, err := busy.Incr(ctx, "n").Result(); err != nil || got != n {
				t.Errorf("command %d got %d, %v", n, got, err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 20 {
		proxy.Redial()
	}
	close(stop)
	<-done
	if tracking() {
		t.Error("the new connection is the old one")
	}
	if proxy.Accepted() != 2 {
		t.Errorf("the clients connected %d times", proxy.Accepted())
	}
}

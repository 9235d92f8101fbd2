package redisstore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gogf/gf/v2/database/gredis"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers/redisstore"
)

func ExampleNew() {
	client := redis.NewClient(&redis.Options{
		Addr:                  examples, // "127.0.0.1:6379"
		ContextTimeoutEnabled: true,
		ReadTimeout:           time.Second,
	})
	defer client.Close()

	store := redisstore.New(client, redisstore.Prefix(redisstore.DefaultPrefix))

	// In a program of ghttp: server.SetSessionStorage(layer.Chain(store, ...)).
	manager := gsession.New(30*time.Minute, store)
	session := manager.New(context.Background())
	session.MustSet("user", "ada")
	if err := session.Close(); err != nil {
		fmt.Println(err)
	}

	again := manager.New(context.Background(), session.MustId())
	fmt.Println(again.MustGet("user"))
	// Output: ada
}

func ExampleOpen() {
	url := "redis://" + examples + "/0?read_timeout=1s"
	store, err := redisstore.Open(url, redisstore.Prefix(redisstore.DefaultPrefix))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close(context.Background())

	session := gsession.New(30*time.Minute, store).New(context.Background(), "opened")
	session.MustSet("visits", 1)
	fmt.Println(session.Close())
	// Output: <nil>
}

// The store takes the place of gsession.NewStorageRedis: same client, same prefix,
// same sessions.
func ExampleFromGoFrame() {
	// import _ "github.com/gogf/gf/contrib/nosql/redis/v2"; g.Redis() does as well.
	client, err := gredis.New(&gredis.Config{Address: examples})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close(context.Background())

	before := gsession.New(30*time.Minute, gsession.NewStorageRedis(client, "shop:"))
	session := before.New(context.Background(), "of-an-old-node")
	session.MustSet("cart", 3)
	if err = session.Close(); err != nil {
		fmt.Println(err)
	}

	now := gsession.New(30*time.Minute, redisstore.FromGoFrame(client, redisstore.Prefix("shop:")))
	fmt.Println(now.New(context.Background(), "of-an-old-node").MustGet("cart"))
	// Output: 3
}

func ExamplePrefix() {
	client := redis.NewClient(&redis.Options{Addr: examples})
	defer client.Close()
	ctx := context.Background()

	store := redisstore.New(client, redisstore.Prefix("shop:session:"))
	session := gsession.New(30*time.Minute, store).New(ctx, "id")
	session.MustSet("user", "ada")
	_ = session.Close()

	fmt.Println(client.Get(ctx, "shop:session:id").Val())
	// Output: {"user":"ada"}
}

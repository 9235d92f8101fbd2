// Shop is a small web shop on sessions through a chain of layers. Its page shows what
// the layers did for the visitor's own requests.
//
//	go run ./examples/shop                                  # sessions in files
//	go run ./examples/shop -redis redis://127.0.0.1:6379/0  # sessions in Redis
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// sessionLife is how long a visitor is remembered.
const sessionLife = 24 * time.Hour

func main() {
	var (
		addr  = flag.String("addr", "127.0.0.1:8000", "address to serve on")
		redis = flag.String("redis", "", "keep sessions in Redis, for example redis://127.0.0.1:6379/0")
		dir   = flag.String("dir", filepath.Join(os.TempDir(), "strata-shop"), "keep sessions in files of this folder, unless -redis is given")
	)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "shop: unknown argument %q; see -help\n", flag.Arg(0))
		os.Exit(2)
	}
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := serve(stop, *addr, *redis, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

// serve runs the shop until stop ends, and returns when every write is in the store.
func serve(stop context.Context, addr, redis, dir string) (err error) {
	store, closeStore, err := open(redis, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()

	tally := newTally()
	chain := layer.Chain(store,
		tally.countStore, layer.Coalesced(), layer.Local(), layer.Traced(), tally.countVisitor)
	defer func() {
		// stop has ended by now: closing has a deadline of its own.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = errors.Join(err, chain.Close(ctx))
	}()

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server, err := newServer(chain, tally, listener)
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	fmt.Printf("The shop is open on http://%s\n", listener.Addr())
	<-stop.Done()
	return server.Shutdown()
}

// open returns the store, and what closes it once the chain is closed.
func open(redis, dir string) (gsession.Storage, func() error, error) {
	if redis == "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, nil, err
		}
		return gsession.NewStorageFile(dir, sessionLife), func() error { return nil }, nil
	}
	store, err := redisstore.Open(redis, redisstore.Prefix("shop:"))
	if err != nil {
		return nil, nil, err
	}
	return store, func() error { return store.Close(context.Background()) }, nil
}

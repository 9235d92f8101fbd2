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

const (
	sessionLife = 24 * time.Hour // how long a visitor is remembered
	patience    = 10 * time.Second
)

// errUsage marks what the user has to write otherwise.
var errUsage = errors.New("see -help")

func main() {
	var (
		addr  = flag.String("addr", "127.0.0.1:8000", "address to serve on")
		redis = flag.String("redis", "", "keep sessions in Redis, for example redis://127.0.0.1:6379/0")
		dir   = flag.String("dir", defaultDir(), "keep sessions in files of this folder, unless -redis is given")
	)
	flag.Parse()
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var err error
	if flag.NArg() > 0 {
		err = fmt.Errorf("unknown argument %q; %w", flag.Arg(0), errUsage)
	} else {
		err = serve(stop, *addr, *redis, *dir)
	}
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "shop:", err)
	if errors.Is(err, errUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

// defaultDir is the user's own, so that nobody else reads the sessions.
func defaultDir() string {
	parent, err := os.UserCacheDir()
	if err != nil {
		parent = os.TempDir()
	}
	return filepath.Join(parent, "strata-shop")
}

// serve runs the shop until stop ends, and returns when every write is in the store.
// What is deferred runs from the server inwards: no request, then no chain, then no store.
func serve(stop context.Context, addr, redis, dir string) (err error) {
	if _, err := net.ResolveTCPAddr("tcp", addr); err != nil || addr == "" {
		return fmt.Errorf("-addr %q isn't host:port; %w", addr, errUsage)
	}
	store, closeStore, err := open(redis, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()

	tally := newTally()
	chain := newChain(store, tally)
	defer func() {
		// stop has ended by now: closing has a deadline of its own.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
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

// newChain stacks the layers, the first one innermost, between the tally's two ends.
func newChain(store gsession.Storage, tally *tally) *layer.Stack {
	return layer.Chain(store,
		tally.countStore, layer.Coalesced(), layer.Local(), layer.Traced(), tally.countVisitor)
}

// open returns the store, and what closes it once the chain is closed.
func open(redis, dir string) (gsession.Storage, func() error, error) {
	if redis != "" {
		store, err := redisstore.Open(redis, redisstore.Prefix("shop:"))
		if err != nil {
			return nil, nil, fmt.Errorf("-redis: %w; %w", err, errUsage)
		}
		return store, func() error { return store.Close(context.Background()) }, nil
	}
	dir, err := usable(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("-dir: %w; %w", err, errUsage)
	}
	return gsession.NewStorageFile(dir, sessionLife), func() error { return nil }, nil
}

// usable makes the folder. NewStorageFile panics on one that it can't write to, and
// looks for a relative one in several places.
func usable(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err = os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	probe, err := os.CreateTemp(dir, "probe")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(probe.Close(), os.Remove(probe.Name()))
}

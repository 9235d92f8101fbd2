// Observed is a shop of three requests that shows what a chain of layers reports:
// metrics for Prometheus on /metrics, the chain itself on /status/, and traces that are printed
// or sent on by OTLP. The page / links to all of it.
//
//	cd examples/observed
//	go run . -traces print                                  # a line of JSON for each span
//	go run . -traces http://127.0.0.1:4318                  # to an OpenTelemetry collector
//	go run . -redis redis://127.0.0.1:6379/0 -traces print  # with sessions in Redis
//
//	shop() { curl -s -c jar -b jar "$@"; }
//	shop -d '{"name":"Ann"}' 127.0.0.1:8000/login
//	shop -X POST 127.0.0.1:8000/cart/tea
//	shop 127.0.0.1:8000/cart
//	shop -X POST 127.0.0.1:8000/logout
//	curl -s 127.0.0.1:8000/metrics | grep ^strata_
//
// The chain is built as in any program. It reports to the global providers, which
// GoFrame's own set-up sets as well, so that nothing here joins the two; by web.Sessions the spans
// of sessions stand below the span that GoFrame makes for the request. The program's own part is
// in telemetry.go, which sets the providers: the metrics are those of GoFrame's
// contrib/metric/otelmetric, with GoFrame's http.server metrics beside ours.
//
// Another file, redact.go, is for GoFrame's span: it quotes the request's headers, and with them
// the cookie that holds the session's id. Strata's own spans and metrics hold no id, key or
// value of a session; package telemetry lists all of their names.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

const endTimeout = 10 * time.Second // for what is to end

// errUsage marks what the user has to write otherwise.
var errUsage = errors.New("see -help")

func main() {
	var (
		addr   = flag.String("addr", "127.0.0.1:8000", "address to serve on")
		redis  = flag.String("redis", "", "keep sessions in Redis, for example redis://127.0.0.1:6379/0, and not in memory")
		traces = flag.String("traces", "", `"print", or where an OpenTelemetry collector takes OTLP over HTTP, for example http://127.0.0.1:4318`)
	)
	flag.Parse()
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var err error
	if flag.NArg() > 0 {
		err = fmt.Errorf("unknown argument %q; %w", flag.Arg(0), errUsage)
	} else {
		err = serve(stop, *addr, *redis, *traces)
	}
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "observed:", err)
	if errors.Is(err, errUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

// serve runs the shop until stop ends. Deferred calls end the server first,
// then the chain, the store and, as it reports on all three, the telemetry.
func serve(stop context.Context, addr, redis, traces string) (err error) {
	if _, err := net.ResolveTCPAddr("tcp", addr); err != nil || addr == "" {
		return fmt.Errorf("-addr %q isn't host:port; %w", addr, errUsage)
	}
	// later gives what ends after stop a deadline of its own.
	later := func(end func(context.Context) error) {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		err = errors.Join(err, end(ctx))
	}
	endTelemetry, err := observe(traces)
	if err != nil {
		return err
	}
	defer later(endTelemetry)

	store, closeStore, err := open(redis)
	if err != nil {
		return err
	}
	defer later(closeStore)

	chain := layer.Chain(store, layer.Coalesced(), layer.Local(), layer.Traced())
	defer later(chain.Close)

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server, err := newServer(chain, listener)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if err := server.Start(); err != nil {
		return err
	}
	fmt.Printf("The shop is open on http://%s\n", listener.Addr())
	<-stop.Done()
	return server.Shutdown()
}

// open returns the store, and what closes it once the chain is closed.
func open(redis string) (gsession.Storage, func(context.Context) error, error) {
	if redis == "" {
		return gsession.NewStorageMemory(), func(context.Context) error { return nil }, nil
	}
	store, err := redisstore.Open(redis, redisstore.Prefix("observed:"))
	if err != nil {
		return nil, nil, fmt.Errorf("-redis: %w; %w", err, errUsage)
	}
	return store, store.Close, nil
}

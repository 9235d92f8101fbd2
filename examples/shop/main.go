// Shop is a small web shop whose visitors see what layers do for sessions. Each click goes to two
// shops: one keeps its sessions through a chain of layers, the other in a bare store of the same
// kind. The page shows both, and runs what Strata claims.
//
//	go run ./examples/shop                                  # sessions in files; offers to start Redis
//	go run ./examples/shop -redis start                     # starts a Redis for itself
//	go run ./examples/shop -redis redis://127.0.0.1:6379/0  # uses this one
//	go run ./examples/shop -nodes 2                         # two nodes on one Redis, side by side
//	go run ./examples/shop -admin                           # a page of the users who are on line, at /admin
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/gogf/gf/contrib/nosql/redis/v2" // of the shop without layers
	"github.com/gogf/gf/v2/database/gredis"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

const (
	sessionLife = 24 * time.Hour // how long a visitor is remembered
	timeout     = 10 * time.Second
	maxNodes    = 8

	startOne = "start" // in place of a URL
	prefix   = "shop:"
)

// errUsage marks what the user has to write otherwise.
var errUsage = errors.New("see -help")

// options are the flags.
type options struct {
	addr, redis, dir string
	nodes            int
	admin            bool
	outage           time.Duration // of the trial that kills Redis
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8000", "address to serve on; further nodes take the ports after it")
	flag.StringVar(&o.redis, "redis", "", `keep sessions in Redis: "start" starts one, a URL such as redis://127.0.0.1:6379/0 names one`)
	flag.StringVar(&o.dir, "dir", defaultDir(), "keep sessions in files of this folder, unless in Redis")
	flag.IntVar(&o.nodes, "nodes", 1, "how many nodes serve the shop, on one Redis")
	flag.DurationVar(&o.outage, "outage", 10*time.Second, "how long the page's trial has Redis away")
	flag.BoolVar(&o.admin, "admin", false, "serve a page of the users who are on line at /admin, to the visitor who logs in as admin")
	flag.Parse()
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if o.redis == "" && o.nodes == 1 && flag.NArg() == 0 && offered(os.Stdin, os.Stdout) {
		fmt.Print("redis-server is installed. Start one for the shop? It keeps nothing. [Y/n] ")
		if agreed(os.Stdin) {
			o.redis = startOne
		}
	}
	var err error
	if flag.NArg() > 0 {
		err = fmt.Errorf("unknown argument %q; %w", flag.Arg(0), errUsage)
	} else {
		err = serve(stop, o)
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

// offered reports whether there is a terminal to ask at, and something to offer.
func offered(terminals ...*os.File) bool {
	null, err := os.Stat(os.DevNull)
	if err != nil {
		return false
	}
	for _, t := range terminals {
		if info, err := t.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 || os.SameFile(info, null) {
			return false
		}
	}
	_, err = exec.LookPath("redis-server")
	return err == nil
}

// agreed takes an empty line as yes, and no line at all as no.
func agreed(in io.Reader) bool {
	line, err := bufio.NewReader(in).ReadString('\n')
	line = strings.ToLower(strings.TrimSpace(line))
	return err == nil && (line == "" || line == "y" || line == "yes")
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
// Deferred calls run from the servers inwards: no request, then no chain, then no store.
func serve(stop context.Context, o options) (err error) {
	later := func(end func() error) { err = errors.Join(err, end()) }
	if o.nodes < 1 || o.nodes > maxNodes {
		return fmt.Errorf("-nodes is 1 to %d; %w", maxNodes, errUsage)
	}
	if o.redis == "" && o.nodes > 1 {
		o.redis = startOne // nodes can't share files
	}
	addrs, err := addresses(o.addr, o.nodes)
	if err != nil {
		return err
	}
	trials := &trials{name: "files", outage: o.outage, stop: stop}
	if o.redis != "" {
		trials.name = "redis"
	}
	if o.redis == startOne {
		if trials.redis, err = startRedis(stop); err != nil {
			return err
		}
		defer later(trials.redis.stop)
		o.redis = trials.redis.url()
	}
	var listeners []net.Listener
	for _, addr := range addrs {
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		defer listener.Close() // where no server has taken it over
		listeners = append(listeners, listener)
		trials.nodes = append(trials.nodes, "http://"+listener.Addr().String())
	}
	for n, listener := range listeners {
		h, closeHouse, err := build(o, n+1)
		if err != nil {
			return err
		}
		defer later(closeHouse)
		server, err := newServer(h, trials, listener)
		if err == nil {
			err = server.Start()
		}
		if err != nil {
			return err
		}
		defer later(server.Shutdown)
	}
	fmt.Printf("The shop is open on %s\n", trials.nodes[0])
	<-stop.Done()
	trials.running.Lock() // a trial ends with stop, and leaves Redis running
	return nil
}

// addresses are those of the nodes, one port after the other; port 0 is any free one for each.
func addresses(addr string, nodes int) (all []string, err error) {
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil || addr == "" {
		return nil, fmt.Errorf("-addr %q isn't host:port; %w", addr, errUsage)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	for n := range nodes {
		port := at.Port
		if port != 0 {
			port += n
		}
		all = append(all, net.JoinHostPort(host, strconv.Itoa(port)))
	}
	return all, nil
}

// newChain stacks the layers, the first one innermost, between the tally's two ends. Sessions in
// memory are served for a minute while the store is away.
func newChain(store gsession.Storage, tally *tally, more ...layer.Decorator) *layer.Stack {
	layers := append([]layer.Decorator{tally.countStore(), layer.Coalesced(), layer.Local(layer.ServeStale(time.Minute))}, more...)
	return layer.Chain(store, append(layers, layer.Traced(), tally.countVisitor())...)
}

// build returns what a node serves, and what closes it: the chain, then its store.
func build(o options, node int) (h house, end func() error, err error) {
	store, bare, closeStore, err := open(o.redis, o.dir)
	if err != nil {
		return h, nil, err
	}
	h = house{counts: [2]*tally{newTally(), newTally()}, node: node}
	var more []layer.Decorator
	if o.admin {
		more = append(more, layer.Indexed(nil)) // by web.Login
	}
	chain := newChain(store, h.counts[0], more...)
	if o.admin {
		h.users = layer.Principals(chain)
	}
	h.chain, h.plain = chain, &plain{Storage: bare, tally: h.counts[1]}
	return h, func() error {
		// The context that stops the shop has ended by now: closing has a deadline of its own.
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		return errors.Join(chain.Close(ctx), closeStore())
	}, nil
}

// open returns two stores of one kind, of which one is for the chain, and what closes them once
// that is closed.
func open(url, dir string) (store, bare gsession.Storage, end func() error, err error) {
	if url != "" {
		return openRedis(url)
	}
	layered, err := usable(dir, "layers")
	if err != nil {
		return nil, nil, nil, fmt.Errorf("-dir: %w; %w", err, errUsage)
	}
	plainly, err := usable(dir, "plain")
	if err != nil {
		return nil, nil, nil, fmt.Errorf("-dir: %w; %w", err, errUsage)
	}
	return gsession.NewStorageFile(layered, sessionLife), gsession.NewStorageFile(plainly, sessionLife), func() error { return nil }, nil
}

// openRedis gives the bare store a prefix and a client of its own, GoFrame's.
func openRedis(url string) (store, bare gsession.Storage, end func() error, err error) {
	layered, err := redisstore.Open(url, redisstore.Prefix(prefix))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("-redis: %w; %w", err, errUsage)
	}
	at, err := redis.ParseURL(url)
	if err != nil {
		return nil, nil, nil, errUsage // Open has taken it
	}
	client, err := gredis.New(&gredis.Config{Address: at.Addr, Db: at.DB, User: at.Username, Pass: at.Password, TLSConfig: at.TLSConfig})
	if err != nil {
		return nil, nil, nil, errors.Join(err, layered.Close(context.Background()))
	}
	return layered, gsession.NewStorageRedis(client, "plain-"+prefix), func() error {
		ctx := context.Background()
		return errors.Join(layered.Close(ctx), client.Close(ctx))
	}, nil
}

// usable makes a folder. NewStorageFile panics on one that it can't write to, and
// looks for a relative one in several places.
func usable(dir, name string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(dir, name))
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

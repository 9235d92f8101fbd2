package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

func main() {
	if config := os.Getenv(nodeConfig); config != "" {
		exitNode(config)
	}
	redis.SetLogger(quiet{}) // a client's complaints about faults are expected
	o := DefaultOptions()
	o.Replicas, o.Probes, o.Requests, o.Round, o.Quiet = 3, 3000, 20000, 12*time.Second, 3*time.Second
	topology := flag.String("topology", "all", "standalone, cluster, sentinel or all")
	faults := flag.String("faults", "cut,stall,deaf,pause,jitter,hang,outage,full,refuse,restart,failover,crash,move,linger", "which faults, by comma; empty for none")
	flag.DurationVar(&o.Duration, "duration", 10*time.Minute, "of the load, shared by the topologies")
	flag.IntVar(&o.Nodes, "nodes", o.Nodes, "node processes")
	flag.IntVar(&o.Users, "sessions", o.Users, "users, each with a session")
	flag.IntVar(&o.Rate, "rate", o.Rate, "requests a second of each of a node's workers")
	flag.IntVar(&o.Workers, "workers", o.Workers, "of each node")
	flag.IntVar(&o.Requests, "requests", o.Requests, "of each node that are measured first, without faults; 0 measures nothing")
	flag.Uint64Var(&o.Seed, "seed", uint64(time.Now().UnixNano()), "of the load and the faults")
	flag.BoolVar(&o.Strict, "strict", false, "exit with status 1 also for a figure that isn't reached; it takes an idle machine")
	flag.Parse()
	o.Faults = strings.Split(*faults, ",")
	topologies := []string{*topology}
	switch *topology {
	case "all":
		topologies = []string{standalone, cluster, sentinel}
	case standalone, cluster, sentinel:
	default:
		fmt.Fprintln(os.Stderr, "nodes: -topology is standalone, cluster, sentinel or all")
		os.Exit(2)
	}
	o.Duration /= time.Duration(len(topologies))
	status := 0
	for _, topology := range topologies {
		status = max(status, runProgram(topology, o))
	}
	os.Exit(status)
}

// runProgram answers the exit status: 1 for a violation, and for what is not reached if
// that is asked for, 2 where the run itself failed.
func runProgram(topology string, o Options) (status int) {
	h := &host{}
	defer h.close()
	defer func() {
		switch failed := recover().(type) {
		case nil:
		case failure:
			fmt.Fprintln(os.Stderr, "nodes:", string(failed))
			status = 2
		default:
			h.close()
			panic(failed)
		}
	}()
	report := Run(h, topology, o)
	report.Print(os.Stdout)
	if report.Violations() > 0 || o.Strict && len(report.Unreached()) > 0 {
		return 1
	}
	return 0
}

// quiet is a go-redis logger.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// exitNode ends this process when the node has ended.
func exitNode(config string) {
	if err := serve(config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

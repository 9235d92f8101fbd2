package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
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
	faults := flag.String("faults", strings.Join(faultNames(), ","), "which faults, by comma; empty for none")
	flag.DurationVar(&o.Duration, "duration", 10*time.Minute, "of the load, shared by the topologies")
	flag.IntVar(&o.Requests, "requests", o.Requests, "of each node that are measured first, without faults; 0 measures nothing")
	flag.DurationVar(&o.Skew, "skew", time.Hour, "how far one node's clock is ahead, and another's behind; 0 needs no go command")
	flag.Uint64Var(&o.Seed, "seed", uint64(time.Now().UnixNano()), "of the load and the faults")
	kills := flag.Int("kills", 20, "of nodes that write behind with a journal, after the topologies")
	principals := flag.Duration("principals", time.Minute, "of ending, limiting and changing sessions by whose they are, after that, without the faults by which servers lose what they had acknowledged; 0 for none")
	strict := flag.Bool("strict", false, "exit with status 1 also for a figure that isn't reached, on a machine that isn't busy")
	flag.Parse()
	o.Faults = strings.FieldsFunc(*faults, func(r rune) bool { return r == ',' })
	for _, name := range o.Faults {
		if !slices.Contains(faultNames(), name) {
			wrong("there is no fault %q, but: %s", name, strings.Join(faultNames(), ", "))
		}
	}
	run := topologies
	if *topology != "all" {
		if run = []string{*topology}; !slices.Contains(topologies, *topology) {
			wrong("there is no topology %q, but: %s, all", *topology, strings.Join(topologies, ", "))
		}
	}
	behind := o
	o.Duration /= time.Duration(len(run))
	status := 0
	for _, topology := range run {
		status = max(status, program(func(tb testing.TB) bool {
			report := Run(tb, topology, o)
			report.Print(os.Stdout)
			return report.Violations() == 0 && (!*strict || len(report.Unreached()) == 0)
		}))
	}
	if *kills > 0 {
		status = max(status, program(func(tb testing.TB) bool {
			found := RunBehind(tb, behind, *kills)
			found.Print(os.Stdout)
			return !found.Silent && len(found.Back) == 0
		}))
	}
	if *principals > 0 {
		behind.Duration = *principals / 2
		for _, topology := range []string{standalone, cluster} {
			status = max(status, program(func(tb testing.TB) bool {
				found := RunPrincipals(tb, topology, behind)
				found.Print(os.Stdout)
				return found.Sound()
			}))
		}
	}
	fmt.Println([]string{"sound: nothing that was promised was broken", "not sound: see the lines with a !", "the checker itself failed"}[status])
	os.Exit(status)
}

// wrong ends the program where a flag can't be.
func wrong(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "nodes: "+format+"\n", args...)
	os.Exit(2)
}

// program returns the exit status of a run: 1 where it isn't sound, 2 where it failed itself.
func program(run func(tb testing.TB) (sound bool)) (status int) {
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
	if !run(h) {
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

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/worker"
)

func main() {
	worker.Main(peers.All())
	o := Options{Subjects: peers.All(), Module: "goredis923"}
	flag.BoolVar(&o.Quick, "quick", false, "every workload in a tiny form, in under a minute; figures mean little")
	flag.StringVar(&o.Out, "out", "", "the folder for the page, its summary, the plot and the JSON (results for a whole run, or else none)")
	flag.StringVar(&o.Only, "only", "", "the one workload, or group of workloads, to run")
	flag.IntVar(&o.Cached, "cached", 0, "how many sessions fill a cache (1,000,000, or 2,000 with -quick); most of the time of a full run")
	subject := flag.String("subject", "", "a part of the names of subjects to run; empty for all")
	flag.StringVar(&o.Module, "module", o.Module, "the folder of the subjects that need a newer Go; empty leaves them out")
	flag.Parse()
	o.Subjects = slices.DeleteFunc(o.Subjects, func(s peers.Subject) bool { return !strings.Contains(s.Name, *subject) })
	if !strings.Contains(peers.GoRedisCache.Name, *subject) {
		o.Module = ""
	}
	if o.Out == "" && !o.Quick && o.Only == "" && *subject == "" && o.Cached == 0 {
		o.Out = "results" // only a whole run is what others look at
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench runs all, and writes what it found.
func bench(ctx context.Context, o Options) error {
	o.Progress = newProgress(os.Stderr)
	run, err := Run(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(run.Text(os.Stdout), run.Write(o.Out))
}

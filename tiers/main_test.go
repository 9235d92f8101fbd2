package tiers

import "flag"

// The draws of rapid are the same each time, unless the command line has a -rapid.seed: it is parsed later.
func init() {
	if err := flag.Set("rapid.seed", "1"); err != nil {
		panic(err)
	}
}

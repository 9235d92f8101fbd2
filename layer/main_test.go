package layer_test

import (
	"flag"
	"os"
	"testing"
)

// The suite mostly waits for sessions to expire: it runs wide unless told otherwise.
func TestMain(m *testing.M) {
	wide := true
	flag.Parse()
	flag.Visit(func(f *flag.Flag) { wide = wide && f.Name != "test.parallel" })
	if wide {
		_ = flag.Set("test.parallel", "12")
	}
	os.Exit(m.Run())
}

package layer_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/glog"

	"github.com/gf-strata/strata/internal/principals"
)

// Defaults of these tests, which the command line overrides, as it is parsed later: the suite mostly waits for sessions to
// expire and runs wide, and random stacks take more draws than a hundred. They are the same
// draws each time; -rapid.seed=0 has others (make fuzz).
func TestMain(m *testing.M) {
	if os.Getenv(victimRedis) != "" {
		if err := victim(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for name, value := range map[string]string{"test.parallel": "12", "rapid.checks": "150", "rapid.seed": "1"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	principals.FindTimeout, principals.EndTimeout = longTimeout, longTimeout
	principals.CallTimeout = 20 * time.Second
	glog.Instance().SetWriter(&goframeLog)
	glog.Instance().SetStdoutPrint(false)
	os.Exit(m.Run())
}

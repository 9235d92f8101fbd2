package local_test

import (
	"context"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/leaktest"
)

// GoFrame's goroutines, which start when it is imported, run before the tests and after them.
func TestMain(m *testing.M) { leaktest.Main(m) }

const ttl = time.Hour

var ctx = context.Background()

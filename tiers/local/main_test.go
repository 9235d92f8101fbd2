package local_test

import (
	"context"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/leaktest"
)

// What GoFrame starts when it is imported runs before the tests and after them.
func TestMain(m *testing.M) { leaktest.Main(m) }

const ttl = time.Hour

var ctx = context.Background()

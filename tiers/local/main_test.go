package local_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// What GoFrame starts when it is imported runs before the tests and after them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

const ttl = time.Hour

var ctx = context.Background()

package layer_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/layer"
)

// A GoFrame whose maps can't be followed doesn't stop the program: the chain says so, once.
func TestUnknownGoFrameIsLoggedOnce(t *testing.T) {
	defer sessionmap.PretendUnfollowed()()
	ctx := context.Background()
	var lines bytes.Buffer
	chain := layer.Chain(gsession.NewStorageMemory(), patientLocal(), layer.Traced(layer.Logger(slog.New(slog.NewTextHandler(&lines, nil)))))
	if err := chain.SetSession(ctx, "a", gmap.NewStrAnyMapFrom(map[string]any{"k": 1}, true), time.Hour); err != nil {
		t.Fatal(err)
	}
	one, _ := chain.GetSession(ctx, "a", time.Hour)
	two, _ := chain.GetSession(ctx, "a", time.Hour)
	one.Set("one", 1)
	two.Set("two", 2)
	for _, m := range []*gmap.StrAnyMap{one, two} {
		if err := chain.SetSession(ctx, "a", m, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := chain.GetSession(ctx, "a", time.Hour); err != nil || m.Size() != 3 {
		t.Errorf("GetSession = %v, %v", m, err)
	}
	if err := chain.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(lines.String(), "can't be followed"); n != 1 {
		t.Errorf("it is logged %d times: %s", n, lines.String())
	}
}

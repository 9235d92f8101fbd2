package layer_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// A process that is replaced by its next release serves from memory again what it held, as
// Redis has it by then.
func TestTheNextProcessReadsTheSessionsOfTheLast(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t)
	client := server.Client()
	path := filepath.Join(t.TempDir(), "sessions.warm")
	store := func() *redisstore.Storage { return redisstore.New(server.Client(), redisstore.Prefix("restart:")) }
	const sessions = 50
	ids := make([]string, sessions)

	for n := range ids { // before there is a node that is notified of it
		ids[n] = gsession.NewSessionId()
		if err := client.Set(ctx, "restart:"+ids[n], fmt.Sprintf(`{"n":%d}`, n), time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	last := layer.Chain(store(), patientCoalesced(), patientLocal(layer.WarmRestart(path)))
	for _, id := range ids {
		warm(t, client, gsession.New(time.Hour, last), id)
	}
	if err := last.Close(ctx); err != nil {
		t.Fatal(err)
	}

	_, there := node(t, store())
	request := there.New(ctx, ids[1])
	if err := errors.Join(request.Set("n", -1), request.Close()); err != nil {
		t.Fatal(err)
	}
	if err := there.New(ctx, ids[2]).RemoveAll(); err != nil {
		t.Fatal(err)
	}

	before := gets(t, client)
	_, next := node(t, store(), layer.WarmRestart(path))
	if !poll.Try(func() bool { return gets(t, client) >= before+sessions }) {
		t.Fatalf("%d sessions were read, and no request asked for any; want %d", gets(t, client)-before, sessions)
	}
	if !poll.Try(func() bool {
		before := gets(t, client)
		for n, id := range ids {
			want := fmt.Sprint(n)
			switch n {
			case 1:
				want = "-1"
			case 2:
				want = ""
			}
			if value := next.New(ctx, id).MustGet("n").String(); value != want {
				t.Fatalf("session %d has %q, want %q", n, value, want)
			}
		}
		return gets(t, client) == before
	}) {
		t.Error("the sessions of the last process aren't in memory")
	}
}

package redisstore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// The benchmarks run a request on StorageRedis and on this store in turn, on one
// server and one client, and report how much longer this store's takes. They should
// show that a read costs hardly more for the remaining time that it learns, and an
// atomic commit little more than an overwrite.

func BenchmarkRead(b *testing.B) {
	duel(b, func(session *gsession.Session, _ int) error {
		_, err := session.Get("key3")
		return err
	})
}

func BenchmarkCommit(b *testing.B) {
	duel(b, func(session *gsession.Session, n int) error {
		if err := session.Set("key3", n); err != nil {
			return err
		}
		return session.Close()
	})
}

func duel(b *testing.B, request func(*gsession.Session, int) error) {
	server := redistest.Start(b)
	client := server.GoFrame(b)
	theirs := gsession.New(time.Hour, gsession.NewStorageRedis(client))
	ours := gsession.New(time.Hour, redisstore.FromGoFrame(client))
	for _, id := range []string{"theirs", "ours"} {
		session := theirs.New(ctx, id)
		for n := range 10 {
			session.MustSet(fmt.Sprint("key", n), "a value")
		}
		if err := session.Close(); err != nil {
			b.Fatal(err)
		}
	}
	took := map[string]time.Duration{}
	run := func(manager *gsession.Manager, id string, n int) {
		began := time.Now()
		if err := request(manager.New(ctx, id), n); err != nil {
			b.Fatal(err)
		}
		took[id] += time.Since(began)
	}
	for n := 0; b.Loop(); n++ {
		run(theirs, "theirs", n)
		run(ours, "ours", n)
	}
	b.ReportMetric(float64(took["ours"])/float64(took["theirs"]), "ours/StorageRedis")
	b.ReportMetric(float64(took["ours"].Nanoseconds())/float64(b.N), "ours-ns/op")
}

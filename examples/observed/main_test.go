package main

import (
	"net"
	"testing"

	"github.com/gf-strata/strata/internal/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// end stops the shop, and returns what was printed.
func end(p *program.Program) string {
	p.Terminate()
	return p.Ended()
}

func TestQuietWithoutTraces(t *testing.T) {
	t.Parallel()
	p := program.Start(t)
	newVisitor(t, p.Base).visit()
	if said := end(p); said != "" {
		t.Errorf("printed %s", said)
	}
}

func TestBadFlags(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		code int
		args []string
	}{
		{2, []string{"-redis", "no://user:hush@host"}},
		{2, []string{"-traces", "no://user:hush@host"}},
		{2, []string{"-traces", "127.0.0.1:4318"}},
		{2, []string{"-traces", "http://"}},
		{2, []string{"-addr", "127.0.0.1:port"}},
		{2, []string{"-addr", ""}},
		{2, []string{"surplus"}},
		{2, []string{"-unknown"}},
		{1, []string{"-addr", taken.Addr().String()}},
		{0, []string{"-help"}},
	} {
		program.Refuses(t, c.code, "hush", c.args...)
	}
}

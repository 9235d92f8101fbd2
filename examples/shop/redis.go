package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ownRedis is a redis-server that the shop has started for itself. Its data survive a kill
// and ends with the shop. It runs as a daemon, as a Ctrl-C at the terminal is for the shop, which
// needs it until the last write.
//
// All fields are set by startRedis. Its methods are for one goroutine at a time.
type ownRedis struct {
	dir  string
	port int
}

// startRedis tries some ports, as another program may take one between its choice and its use.
func startRedis(ctx context.Context) (r *ownRedis, err error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, fmt.Errorf("redis-server isn't installed: install Redis, or name a running one as redis://127.0.0.1:6379/0; %w", errUsage)
	}
	dir, err := os.MkdirTemp("", "strata-shop")
	if err != nil {
		return nil, err
	}
	r = &ownRedis{dir: dir}
	for range 5 {
		if r.port, err = freePort(); err == nil {
			err = r.run(ctx)
		}
		if err == nil {
			return r, nil
		}
		_ = r.kill(context.Background()) // what has begun, and wasn't waited for
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// freePort is a port that nobody listens on. It is below those that systems give to outgoing
// connections, one of which could take it while Redis is stopped.
func freePort() (port int, err error) {
	for range 100 {
		var listener net.Listener
		port = 10_000 + rand.IntN(20_000)
		if listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, listener.Close()
		}
	}
	return 0, err
}

func (r *ownRedis) url() string { return "redis://127.0.0.1:" + strconv.Itoa(r.port) + "/0" }

func (r *ownRedis) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(r.port), MaxRetries: -1})
}

// run returns when the server replies, with its data from before.
func (r *ownRedis) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_ = os.Remove(r.pidFile())
	out, err := exec.CommandContext(ctx, "redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(r.port), "--daemonize", "yes",
		"--dir", r.dir, "--pidfile", r.pidFile(), "--logfile", "redis.log", "--save", "", "--appendonly", "yes", "--appendfsync", "always").CombinedOutput()
	if err != nil {
		return fmt.Errorf("redis-server: %w: %s", err, out)
	}
	client := r.client()
	defer client.Close()
	for {
		// The file is written by the server that has the port: another's isn't taken for ours.
		_, err := os.Stat(r.pidFile())
		if err == nil {
			err = client.Ping(ctx).Err()
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis-server doesn't reply: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (r *ownRedis) pidFile() string { return filepath.Join(r.dir, "redis.pid") }

// kill returns when the server is gone.
func (r *ownRedis) kill(ctx context.Context) error {
	text, err := os.ReadFile(r.pidFile())
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := process.Kill(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client := r.client()
	defer client.Close()
	for client.Ping(ctx).Err() == nil {
		time.Sleep(time.Millisecond)
	}
	return errors.Join(ctx.Err(), os.Remove(r.pidFile())) // its number may soon be another's
}

// stop ends the server and removes what it held.
func (r *ownRedis) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := r.kill(ctx)
	if errors.Is(err, os.ErrNotExist) { // it isn't running
		err = nil
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}

package worker

import (
	"bufio"
	"context"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/bench/peers"
)

// Usage is what a round has used up.
type Usage struct {
	Allocs, Bytes uint64
	CPU           float64 // seconds, of this process
	RedisCPU      float64 // seconds, of redis-server
	Commands      float64 // that Redis ran, those of scripts included
	Gets          float64 // commands that read a session or a key of one, those of scripts included
	Scripts       float64 // that ran; each of Strata's commits is one
	Misses        float64 // of the subject's cache, by its own count; of nothing without one
	Cache         bool    // there is one
	RedisBytes    float64 // to and from Redis
}

// since is what was used up after b.
func (u Usage) since(b Usage) Usage {
	return Usage{Allocs: u.Allocs - b.Allocs, Bytes: u.Bytes - b.Bytes, CPU: u.CPU - b.CPU, RedisCPU: u.RedisCPU - b.RedisCPU,
		Commands: u.Commands - b.Commands, Gets: u.Gets - b.Gets, Scripts: u.Scripts - b.Scripts,
		Misses: u.Misses - b.Misses, Cache: u.Cache, RedisBytes: u.RedisBytes - b.RedisBytes}
}

// meter reads what was used up so far. own is what its own questions have cost Redis. It
// is one goroutine's.
type meter struct {
	client *redis.Client // nil for a subject without Redis
	node   peers.Node    // nil before there is one
	own    float64
}

func (m *meter) read() (Usage, error) {
	var u Usage
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	u.Allocs, u.Bytes = memory.Mallocs, memory.TotalAlloc
	if m.client != nil {
		info, err := m.client.Info(context.Background(), "commandstats", "cpu", "stats").Result()
		if err != nil {
			return u, err
		}
		u.parse(info)
		u.RedisBytes -= m.own
		m.own += float64(len(info) + len("*4\r\n$4\r\ninfo\r\n$12\r\ncommandstats\r\n$3\r\ncpu\r\n$5\r\nstats\r\n"))
	}
	if m.node != nil {
		misses, ok := m.node.Misses()
		u.Misses, u.Cache = float64(misses), ok
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return u, err
	}
	u.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	return u, nil
}

// parse takes what INFO says.
func (u *Usage) parse(info string) {
	lines := bufio.NewScanner(strings.NewReader(info))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if command, ok := strings.CutPrefix(name, "cmdstat_"); ok {
			u.count(command, number(strings.TrimPrefix(strings.Split(value, ",")[0], "calls=")))
			continue
		}
		switch name {
		case "used_cpu_sys", "used_cpu_user":
			u.RedisCPU += number(value)
		case "total_net_input_bytes", "total_net_output_bytes":
			u.RedisBytes += number(value)
		}
	}
}

func (u *Usage) count(command string, calls float64) {
	switch command {
	case "info":
		return
	case "get", "mget", "hget", "hmget", "hgetall":
		u.Gets += calls
	case "eval", "evalsha":
		u.Scripts += calls
	}
	u.Commands += calls
}

func number(text string) float64 {
	n, _ := strconv.ParseFloat(strings.TrimSpace(text), 64)
	return n
}

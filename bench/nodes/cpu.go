package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cpuTime is CPU time of the machine since some moment, in ticks of /proc.
type cpuTime struct {
	all  int64 // with the idle time
	used int64 // without what serves interrupts, which runs for anyone
	own  int64 // of used, by this process and those that it started
}

// others returns the part of the machine's CPU time since an earlier moment that other programs used.
func (c cpuTime) others(earlier cpuTime) float64 {
	all := c.all - earlier.all
	return max(0, float64(c.used-earlier.used-(c.own-earlier.own))/float64(max(all, 1)))
}

// readCPU needs Linux.
func readCPU() (c cpuTime, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c, err
	}
	if c.all, c.used, err = parseMachine(string(stat)); err != nil {
		return c, err
	}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return c, err
	}
	parents, used := map[int]int{}, map[int]int64{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		pid, parent, ticks, err := parseProcess(string(text))
		if err != nil {
			return c, err
		}
		parents[pid], used[pid] = parent, ticks
	}
	for pid, ticks := range used {
		for pid != os.Getpid() && pid != 0 {
			pid = parents[pid]
		}
		if pid != 0 {
			c.own += ticks
		}
	}
	return c, nil
}

// parseMachine reads the first line of /proc/stat: cpu user nice system idle iowait irq softirq steal ...
func parseMachine(stat string) (all, used int64, err error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for n, field := range fields[1:9] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		all += ticks
		if n <= 2 || n == 7 {
			used += ticks
		}
	}
	return all, used, nil
}

// parseProcess reads /proc/PID/stat: the pid, the name in brackets, the state, the parent, and later the time
// in user and system mode.
func parseProcess(stat string) (pid, parent int, ticks int64, err error) {
	open, end := strings.Index(stat, " ("), strings.LastIndex(stat, ") ") // a name may hold any of these
	if open < 0 || end < open {
		return 0, 0, 0, fmt.Errorf("a process is described as %q", stat)
	}
	fields := strings.Fields(stat[end+2:])
	if len(fields) < 13 {
		return 0, 0, 0, fmt.Errorf("a process is described as %q", stat)
	}
	pid, err = strconv.Atoi(stat[:open])
	parent, err2 := strconv.Atoi(fields[1])
	user, err3 := strconv.ParseInt(fields[11], 10, 64)
	system, err4 := strconv.ParseInt(fields[12], 10, 64)
	return pid, parent, user + system, errors.Join(err, err2, err3, err4)
}

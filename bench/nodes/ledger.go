package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// deed is what a node did in the runs whose nodes keep a ledger.
type deed struct {
	Node, Person int
	What         string // login, read, change, revoke, revokeAll or update; change, leave, logout or lost of nodes that write behind
	ID           string `json:",omitempty"` // unless it is about all sessions of the person
	Start, End   int64
	Outcome      Outcome
	Shown        bool             `json:",omitempty"` // read: the person was logged in
	Writer       int              `json:",omitempty"` // update
	Version      int64            `json:",omitempty"`
	Versions     map[string]int64 `json:",omitempty"` // read: of the updates that the session shows
}

// ledger is a file of a node's deeds, a line each. A line is written at once, so that it outlives
// the node's kill, which may cut the last one short. mu is held while one is.
type ledger struct {
	mu   sync.Mutex
	file *os.File
}

// openLedger goes on with the ledger in a node's folder, if there is one.
func openLedger(dir string) (*ledger, error) {
	file, err := os.OpenFile(filepath.Join(dir, "ledger"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = file.WriteString("\n") // ends a line that was cut short
	}
	return &ledger{file: file}, err
}

func (l *ledger) note(deeds ...deed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range deeds {
		if line, err := json.Marshal(d); err == nil {
			_, _ = l.file.Write(append(line, '\n'))
		}
	}
}

func (l *ledger) close() { _ = l.file.Close() }

// deeds reads the ledger of a node, but for a line that is being written.
func (w *world) deeds(node int) (all []deed) {
	w.tb.Helper()
	file, err := os.Open(filepath.Join(w.nodeDir(node), "ledger"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the node is still starting
	}
	if err != nil {
		w.tb.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		var d deed
		if json.Unmarshal(lines.Bytes(), &d) == nil {
			all = append(all, d)
		}
	}
	if err := lines.Err(); err != nil {
		w.tb.Fatal(err)
	}
	return all
}

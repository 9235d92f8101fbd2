package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
)

// Files are what a run may write. What it doesn't write it removes: files of two runs are
// never side by side.
var Files = []string{"latest.json", "report.html", "read.svg"}

// Write writes the run into a folder: latest.json, report.html and, where something of it
// was measured, read.svg. An empty folder name writes nothing.
func (r *Run) Write(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var page bytes.Buffer
	if err = r.HTML(&page); err != nil {
		return err
	}
	files := map[string][]byte{"latest.json": append(text, '\n'), "report.html": page.Bytes()}
	if _, ok := r.Workload("read"); ok {
		files["read.svg"] = []byte(r.KeyPlot())
	}
	for _, name := range Files {
		path := filepath.Join(dir, name)
		if err = os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		if content, ok := files[name]; ok {
			if err = os.WriteFile(path, content, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

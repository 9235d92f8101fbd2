package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
)

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
	for name, content := range files {
		if err = os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

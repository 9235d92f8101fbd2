package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// dated is the name of a run's page, so that a reader sees how old it is.
const dated = "2006-01-02.html"

// Write writes the run into a folder: a page that is named by the date, README.md, which shows the
// run in short, latest.json with all figures and, where something of it was measured, read.svg. An
// empty folder name writes nothing. Files of two runs are never side by side: what other runs have
// left there is removed.
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
	name, plot := r.When.Format(dated), ""
	files := map[string][]byte{"latest.json": append(text, '\n')}
	if _, ok := r.Workload("read"); ok {
		plot = "read.svg"
		files[plot] = []byte(r.KeyPlot())
	}
	var page, short bytes.Buffer
	if err = errors.Join(r.HTML(&page), r.Markdown(&short, name, plot)); err != nil {
		return err
	}
	files[name], files["README.md"] = page.Bytes(), short.Bytes()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := time.Parse(dated, e.Name()); err == nil || e.Name() == "read.svg" {
			if err = os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for name, content := range files {
		if err = os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

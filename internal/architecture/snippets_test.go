package architecture

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "github.com/gogf/gf/contrib/nosql/redis/v2"
	"github.com/gogf/gf/v2/database/gredis"
	"github.com/gogf/gf/v2/os/gcfg"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer/config"
)

// imports are the packages that a fragment may use, by their names.
var imports = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "time": "time", "slog": "log/slog", "os": "os", "slices": "slices", "strings": "strings", "crypto/rand": "crypto/rand",
	"g": "github.com/gogf/gf/v2/frame/g", "ghttp": "github.com/gogf/gf/v2/net/ghttp", "gsession": "github.com/gogf/gf/v2/os/gsession", "gmap": "github.com/gogf/gf/v2/container/gmap",
	"redis": "github.com/redis/go-redis/v9",
	"layer": module + "/layer", "web": module + "/layer/web", "online": module + "/layer/online", "status": module + "/layer/status", "config": module + "/layer/config",
	"layertest": module + "/layer/layertest", "redisstore": module + "/tiers/redisstore", "tiers": module + "/tiers", "telemetry": module + "/telemetry",
}

// around is what a fragment finds declared.
const around = "ctx context.Context, server *ghttp.Server, r *ghttp.Request, chain *layer.Stack, store gsession.Storage, client redis.UniversalClient"

var (
	fenced      = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")
	lineComment = regexp.MustCompile(`(?m)^//.*$`)
	declared    = regexp.MustCompile(`(?m)^(?:var )?((?:\w+, )*\w+)(?: :=| [\w.*\[\]]+ = )`)
	topLevel    = regexp.MustCompile(`(?m)^(?:func|type|const) `)
)

// blocks are a page's blocks of a language.
func blocks(page, language string) (found []string) {
	for _, b := range fenced.FindAllStringSubmatch(page, -1) {
		if b[1] == language {
			found = append(found, b[2])
		}
	}
	return found
}

// programs makes files of a block: itself if it is a whole one; else one of each part that a comment of a line of its own
// begins, as what is before and after a change stands in one block.
func programs(block string) (files []string) {
	if strings.HasPrefix(block, "package ") {
		return []string{strings.Replace(block, "package main", "package snippet", 1)} // so that nothing is linked
	}
	parts := []string{block}
	if !topLevel.MatchString(block) {
		parts = lineComment.Split(block, -1)
	}
	for _, part := range parts {
		if strings.TrimSpace(part) == "" {
			continue
		}
		body := part
		if !topLevel.MatchString(part) {
			var used strings.Builder
			for _, names := range declared.FindAllStringSubmatch(part, -1) {
				for _, name := range strings.Split(names[1], ", ") {
					if name != "_" {
						fmt.Fprintf(&used, "_ = %s\n", name)
					}
				}
			}
			body = "func fragment(" + around + ") {\n{\n" + part + used.String() + "}\n}\n"
		}
		var file strings.Builder
		file.WriteString("package snippet\n")
		for name, path := range imports {
			if regexp.MustCompile(`(^|[^\w.])` + regexp.QuoteMeta(name) + `\.`).MatchString(body) {
				fmt.Fprintf(&file, "import %q\n", path)
			}
		}
		file.WriteString(body)
		files = append(files, file.String())
	}
	return files
}

// Each snippet in Go compiles: a whole program, or a fragment among the names of around.
func TestSnippetsCompile(t *testing.T) {
	t.Parallel()
	dir, overlay := t.TempDir(), map[string]string{}
	var found int
	packages := []string{"./fragments"} // and one for each that declares something
	for _, page := range pages(t) {
		for _, block := range blocks(read(t, page), "go") {
			for _, file := range programs(block) {
				found++
				in, own := "fragments", fmt.Sprintf("snippet%d", found)
				if !strings.Contains(file, "func fragment(") {
					in = own
					packages = append(packages, "./"+in)
				}
				file = strings.Replace(file, "func fragment(", "func "+own+"(", 1)
				place, err := filepath.Abs(filepath.Join(in, own+".go"))
				if err != nil {
					t.Fatal(err)
				}
				overlay[place] = filepath.Join(dir, own+".go")
				if err := os.WriteFile(overlay[place], []byte(file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if found < 8 {
		t.Fatalf("only %d snippets were found", found)
	}
	content, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, content, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", append([]string{"build", "-overlay", list}, packages...)...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
		for place, file := range overlay {
			if bytes.Contains(out, []byte(file)) {
				t.Logf("%s:\n%s", filepath.Base(place), read(t, file))
			}
		}
	}
}

// Each configuration in the docs makes a chain and its middleware.
func TestConfigurationsAreTaken(t *testing.T) {
	t.Setenv("SESSION_KEY", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32)))
	gredis.SetConfig(&gredis.Config{Address: redistest.Start(t).Addr()}, gredis.DefaultGroupName)
	t.Cleanup(func() { gredis.RemoveConfig(gredis.DefaultGroupName) })
	ctx, found := context.Background(), 0
	for _, page := range pages(t) {
		for _, block := range blocks(read(t, page), "yaml") {
			if !strings.Contains(block, config.Root+":") {
				continue
			}
			adapter, err := gcfg.NewAdapterContent(block)
			if err != nil {
				t.Fatalf("%s: %v", page, err)
			}
			c := gcfg.NewWithAdapter(adapter)
			for name := range c.MustGet(ctx, config.Root).Map() {
				found++
				chain, err := config.ChainOf(ctx, c, name)
				if err != nil {
					t.Errorf("%s: %v", page, err)
					continue
				}
				if _, err := config.WebOf(ctx, c, name, chain); err != nil {
					t.Errorf("%s: %v", page, err)
				}
				if err := chain.Close(ctx); err != nil {
					t.Errorf("%s: %v", page, err)
				}
			}
		}
	}
	if found < 2 {
		t.Errorf("only %d groups were found", found)
	}
}

// Each command that a page names is there: targets of the Makefile, and packages.
func TestCommandsExist(t *testing.T) {
	makefile := read(t, "../../Makefile")
	target := regexp.MustCompile(`\bmake ([a-z][a-z-]*)`)
	folder := regexp.MustCompile(`\bgo (?:run|test|build)\b[^` + "`" + `\n]*? (\./[\w/]+)`)
	shell := regexp.MustCompile("(?ms)^```sh\n.*?^```$|`[^`\n]+`")
	found := 0
	for _, page := range pages(t) {
		for _, text := range shell.FindAllString(read(t, page), -1) {
			for _, m := range target.FindAllStringSubmatch(text, -1) {
				found++
				if !strings.Contains(makefile, "\n"+m[1]+":") {
					t.Errorf("%s: there is no make %s", page, m[1])
				}
			}
			for _, m := range folder.FindAllStringSubmatch(text, -1) {
				found++
				if !slices.ContainsFunc([]string{".", "bench"}, func(at string) bool { return exists(filepath.Join("../..", at, m[1])) }) {
					t.Errorf("%s: there is no package %s", page, m[1])
				}
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d commands were found", found)
	}
}

// Each link to a file leads to one, and to a heading that is there.
func TestLinksLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)]*))?\)`)
	found := 0
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(read(t, page), ""), "code"), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			to := filepath.Join(filepath.Dir(page), m[1])
			if m[1] == "" {
				to = page
			}
			if !exists(to) {
				t.Errorf("%s: the link to %s leads nowhere", page, m[1])
				continue
			}
			if m[2] != "" {
				found++
				if !slices.Contains(anchors(read(t, to)), m[2]) {
					t.Errorf("%s: %s has no heading #%s", page, m[1], m[2])
				}
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d links to headings were found", found)
	}
}

// anchors are the names that GitHub gives to a page's headings.
func anchors(page string) (names []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
		kept := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		names = append(names, strings.ReplaceAll(kept, " ", "-"))
	}
	return names
}

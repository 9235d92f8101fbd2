# The commands of this project; `make help` lists them.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.1.4
FUZZTIME    ?= 20s
COUNT       ?= 1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A checkout that git calls dubious, as it is another user's, can't be stamped with its version.
export GOFLAGS := $(shell go env GOFLAGS) -buildvcs=false

# Modules of their own: what they depend on is nobody else's.
MODULES := . bench bench/goredis923 examples/observed examples/shop/browser

# each-module runs a command in each of them, and says which it leaves out for want of a newer Go.
define each-module
	@set -e; for module in $(MODULES); do \
		if why=$$(cd $$module && go list -m 2>&1); then \
			echo "== $$module"; (cd $$module && $(1)); \
		else \
			case $$why in *"requires go >="*) echo "== $$module: left out: $$why";; *) echo "$$why" >&2; exit 1;; esac; \
		fi; \
	done
endef

.PHONY: test
test: redis compiler curl rules chromium ## vet, and all tests with the race detector, against real Redis servers
	$(call each-module,go vet ./... && go test -race -count=1 -timeout 25m ./...)
	@$(MAKE) --no-print-directory bench-quick

.PHONY: curl
curl: ## find curl, which runs the lines of the README, or install it
	@./scripts/need.sh curl curl apt-get:curl dnf:curl apk:curl brew:curl

.PHONY: rules
rules: ## check the alerts for Prometheus, if promtool is there or can be installed
	@if ./scripts/need.sh promtool "Prometheus" "apt-get:--no-install-recommends prometheus" brew:prometheus; then \
		cd telemetry/prometheus && promtool check rules rules.yaml && promtool test rules rules_test.yaml; \
	else echo "== the alerts were not checked, as promtool is missing"; fi

.PHONY: nodes
nodes: redis ## ten minutes of node processes on real servers with all faults, every read checked
	cd bench && go run ./nodes -strict

.PHONY: redis
redis: ## find redis-server, or install it with the system's package manager
	@./scripts/need.sh redis-server "Redis 7" apt-get:redis-server dnf:redis dnf:valkey-compat-redis apk:redis brew:redis

.PHONY: chromium
chromium: ## find Chromium, which drives the shop's page, or install it; its tests are left out where it can't be
	@./scripts/need.sh chromium "Chromium" "apt-get:chromium" dnf:chromium apk:chromium || \
		echo "== the shop's page will not be driven, as chromium is missing"

.PHONY: compiler
compiler: ## find the C compiler that the race detector needs, or install it
	@./scripts/need.sh "$$(go env CC | cut -d ' ' -f 1)" "a C compiler" "apt-get:gcc libc6-dev" dnf:gcc "apk:gcc musl-dev"

.PHONY: shop
shop: ## run the example shop on http://127.0.0.1:8000
	go run ./examples/shop

.PHONY: screenshots
screenshots: redis chromium ## the pictures of README and docs, from the running programs, in docs/images
	cd examples/shop/browser && go run ./screenshots -root ../../..

.PHONY: first-minutes
first-minutes: redis curl ## do what the README says in an empty directory, and time each step
	@./scripts/first-minutes.sh

.PHONY: bench
bench: redis ## Strata beside its peers: a table, and bench/results, whose page and plot are committed (under ten minutes)
	cd bench && go run .

.PHONY: bench-quick
bench-quick: redis ## the same in small, to see that it runs; its figures mean nothing
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && cd bench && go run . -quick -out "$$dir"

.PHONY: gobench
gobench: redis ## Go benchmarks, for benchstat with COUNT=10; ratios beside a floor or a peer of the same run
	go test -run '^$$' -bench . -benchmem -count $(COUNT) ./...
	cd bench && go test -run '^$$' -bench . -benchmem -count $(COUNT) .

.PHONY: lint
lint: ## gofmt, vet and staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these files" >&2; exit 1; }
	$(call each-module,go vet ./... && go run $(STATICCHECK) ./...)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (20s), and random stacks of layers
	go test -count=1 -timeout 30m -run 'TestModel|TestDifferential|TestMemoryStaysCoherent' ./layer -rapid.seed=0 -rapid.checks=1000
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

.PHONY: cover
cover: redis ## test coverage across packages, in cover.html
	go test -count=1 -coverpkg ./... -coverprofile cover.out ./...
	go tool cover -html cover.out -o cover.html

.PHONY: vulncheck
vulncheck: ## known vulnerabilities; needs the vulnerability database's network
	go run $(GOVULNCHECK) ./...

# The commands of this project; `make help` lists them.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.1.4
FUZZTIME    ?= 20s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Modules of their own: what they depend on is nobody else's.
MODULES := . bench examples/observed

.PHONY: test
test: redis ## vet, and all tests with the race detector, against real Redis servers
	@set -e; for module in $(MODULES); do \
		echo "== $$module"; \
		(cd $$module && go vet ./... && go test -race -count=1 -timeout 25m ./...); \
	done
	@$(MAKE) --no-print-directory bench-quick

.PHONY: nodes
nodes: redis ## ten minutes of node processes on real servers with all faults, every read checked
	cd bench && go run ./nodes -strict

.PHONY: redis
redis: ## find redis-server, or install it with the system's package manager
	@./scripts/redis.sh

.PHONY: shop
shop: ## run the example shop on http://127.0.0.1:8000
	go run ./examples/shop

.PHONY: bench
bench: redis ## Strata beside its peers: a table, bench/results, and a report in HTML (ten minutes)
	cd bench && go run .

.PHONY: bench-quick
bench-quick: redis ## the same in small, to see that it runs; its figures mean nothing
	cd bench && go run . -quick -out $$(mktemp -d)

.PHONY: gobench
gobench: redis ## Go benchmarks, for benchstat; ratios beside a floor or a peer of the same run
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: lint
lint: ## gofmt, vet and staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these files" >&2; exit 1; }
	@set -e; for module in $(MODULES); do (cd $$module && go vet ./... && go run $(STATICCHECK) ./...); done

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (20s)
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

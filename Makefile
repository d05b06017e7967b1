# hutch: every way to build, test and measure it. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

# sudo does not look where Go's own archive is unpacked.
GO      ?= $(firstword $(shell command -v go) $(wildcard /usr/local/go/bin/go) go)
PREFIX  ?= /usr/local
DESTDIR ?=
# How long each fuzz target runs: in `make test` for a moment, in `make fuzz` in earnest.
FUZZTIME ?=
# More options for the go command in test, attack and torture, for instance -race.
TESTFLAGS ?=
# What `make test` looks at.
PACKAGES ?= ./...

MODULE  := github.com/hutch-project/hutch
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//' || true)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || true)$(shell git diff --quiet HEAD 2>/dev/null || echo -dirty)
DATE    ?= $(shell git log -1 --format=%cI 2>/dev/null || true)
VERFLAGS := -X $(MODULE)/internal/version.number=$(VERSION) -X $(MODULE)/internal/version.commit=$(COMMIT) -X $(MODULE)/internal/version.date=$(DATE)

# Only what is there is built.
PROGRAMS := $(filter $(notdir $(wildcard cmd/*)),hutch hutchd hutch-supervisor hutch-agent)
ALLTESTS := $(GO) run ./internal/testenv/cmd/alltests

export HUTCH_BIN := $(CURDIR)/bin
export GOFLAGS ?= -buildvcs=false

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

.PHONY: build
build: $(PROGRAMS:%=build-%) ## build the programs into bin/

# hutch and hutchd need no C library; the supervisor's runtime does, and libseccomp.
.PHONY: build-hutch build-hutchd
build-hutch build-hutchd: build-%:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(VERFLAGS)' -o bin/$* ./cmd/$*

.PHONY: build-hutch-supervisor
build-hutch-supervisor: deps-build
	CGO_ENABLED=1 $(GO) build -trimpath -tags seccomp -ldflags '$(VERFLAGS)' -o bin/hutch-supervisor ./cmd/hutch-supervisor

# The agent is mapped into every container: static, without symbols.
.PHONY: build-hutch-agent
build-hutch-agent:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w $(VERFLAGS)' -o bin/hutch-agent ./cmd/hutch-agent

.PHONY: deps deps-build deps-demo deps-bench
deps: ## install what building and testing need from Debian's packages
	@test/deps build test
deps-build:
	@test/deps build
deps-demo:
	@test/deps build demo
deps-bench:
	@test/deps build bench

.PHONY: test
test: deps build ## run every test there is; the last line counts them
	@$(ALLTESTS) -vet -fuzztime '$(or $(FUZZTIME),2s)' -fuzzbudget 2m -testflags '$(TESTFLAGS)' $(PACKAGES)

.PHONY: attack
attack: deps build ## attack real containers, once for every threat in the list
	@$(ALLTESTS) -testflags '-v -count=1 $(TESTFLAGS)' ./test/attack/...

.PHONY: torture
torture: deps build ## kill -9 at 200 points of a container's life, then count what is left
	@HUTCH_TORTURE=1 $(ALLTESTS) -testflags '-v -count=1 -timeout=2h $(TESTFLAGS)' ./test/torture/...

.PHONY: fuzz
fuzz: build ## fuzz every parser, FUZZTIME (1m) each
	@$(ALLTESTS) -onlyfuzz -fuzztime '$(or $(FUZZTIME),1m)' $(PACKAGES)

.PHONY: bench
bench: deps-bench build ## measure hutch against LXC in turn; BENCHFLAGS=-write renews docs/performance.md
	@$(GO) run ./test/bench $(BENCHFLAGS)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: lint
lint: ## gofmt, vet, staticcheck, and the rules of the house (imports, forbidden calls, door signs)
	@unformatted="$$(gofmt -l .)"; [ -z "$$unformatted" ] || { printf 'gofmt -w these:\n%s\n' "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) mod verify
	$(GO) mod tidy -diff
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -count=1 ./internal/house

.PHONY: demo demo-clean
demo: deps-demo build ## run a real program in a container of its own and show what it may do
	@$(GO) run ./test/demo
demo-clean: build ## take every trace of the demo away
	@$(GO) run ./test/demo -clean

.PHONY: man completions
man: build-hutch ## write the man pages into docs/man
	$(GO) run ./internal/cli/cmd/gendocs -man docs/man
completions: build-hutch ## write the shells' completions into docs/completions
	$(GO) run ./internal/cli/cmd/gendocs -completions docs/completions

.PHONY: clean
clean: ## remove what was built
	rm -rf bin demo.png

.PHONY: install uninstall
install: build ## install below $(DESTDIR)$(PREFIX)
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/libexec/hutch' '$(DESTDIR)$(PREFIX)/share/bash-completion/completions' \
	  '$(DESTDIR)$(PREFIX)/share/zsh/site-functions' '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d'
	install -m 0755 bin/hutch '$(DESTDIR)$(PREFIX)/bin/hutch'
	for p in $(filter-out hutch,$(PROGRAMS)); do install -m 0755 "bin/$$p" '$(DESTDIR)$(PREFIX)/libexec/hutch/'"$$p"; done
	for s in 1 5 8; do install -D -m 0644 -t '$(DESTDIR)$(PREFIX)/share/man/man'"$$s" docs/man/*."$$s"; done
	install -m 0644 docs/completions/hutch.bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/hutch'
	install -m 0644 docs/completions/_hutch '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_hutch'
	install -m 0644 docs/completions/hutch.fish '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/hutch.fish'
uninstall: ## remove what install put there; containers stay (hutch cleanup --all first)
	rm -f '$(DESTDIR)$(PREFIX)/bin/hutch' '$(DESTDIR)$(PREFIX)'/share/man/man1/hutch.1 '$(DESTDIR)$(PREFIX)'/share/man/man1/hutch-*.1 \
	  '$(DESTDIR)$(PREFIX)/share/man/man5/hutch.toml.5' '$(DESTDIR)$(PREFIX)/share/man/man8/hutchd.8' \
	  '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/hutch' '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_hutch' \
	  '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/hutch.fish'
	rm -rf '$(DESTDIR)$(PREFIX)/libexec/hutch'

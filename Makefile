# The ways in: `make demo` shows what a union file system is, `make test` runs
# everything the machine can run.

SHELL   := /bin/sh
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: help demo build install release test test-kernels test-kernels-long test-aufs test-faults test-robust test-large test-stress fuzz mutate lint bench bench-go clean FORCE

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: bin/snapctl ## Build snapctl and let it show, on a small image, what it does.
	@bin/snapctl demo

build: bin/snapctl ## Build bin/snapctl, one static binary.

bin/snapctl: FORCE
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/snapctl

install: bin/snapctl ## Install snapctl, man pages, completions and systemd units below PREFIX (/usr/local); DESTDIR goes in front.
	@DESTDIR="$(DESTDIR)" PREFIX="$(or $(PREFIX),/usr/local)" UNITDIR="$(UNITDIR)" scripts/install bin/snapctl

release: ## Build archives, Debian packages, checksums and the list of modules for VERSION into dist/, always the same bytes.
	@VERSION="$(VERSION)" scripts/release

test: ## Run all tests: as root, then unprivileged; installs what they need when root.
	@scripts/install-test-deps
	@scripts/test

test-kernels: ## Run the short suites on every kernel of docs/kernels.md and write its tables (half an hour or more).
	@scripts/install-test-deps
	@scripts/test-kernels -full

test-kernels-long: ## The same with all that test-kernels leaves out in emulated machines, for hours.
	@scripts/install-test-deps
	@scripts/test-kernels -full -long

test-aufs: ## Run the whole suite of aufs on a kernel with aufs; AUFS=DIR is a checkout of aufs-standalone.
	@scripts/install-test-deps
	@scripts/test-kernels -aufs "$(AUFS)"

test-faults: ## Let every system call of the methods of a driver fail, one at a time, on each backend (minutes).
	@scripts/install-test-deps
	$(GO) test -p 1 -timeout 8h ./overlay2 ./btrfs ./vfs ./aufs -run TestNoErrorOfASystemCallVanishes -faults 10m

test-robust: ## Make a thousand power cuts for each file system and backend, and write docs/durability.md (an hour or more).
	@scripts/install-test-deps
	@scripts/test-robust

test-large: ## Commit, compare, write, unpack and remove the largest trees that docs/limits.md speaks of (an hour, 10 GB in TMPDIR).
	@scripts/install-test-deps
	$(GO) test -v -timeout 6h ./test/large -large

fuzz: ## Run every fuzz target for MINUTES (1 unless given), or those that PATTERN matches; names an input that fails.
	@scripts/fuzz "$(or $(MINUTES),1)" "$(PATTERN)"

mutate: ## Change some packages in small ways, one at a time, and see whether their tests notice (hours).
	@$(GO) run ./scripts/mutate ./tar ./diff ./internal/whiteout ./internal/layerdir ./overlay2

test-stress: ## Run every test three times while half of the processors are busy.
	@scripts/install-test-deps
	@scripts/test --stress

lint: ## Run golangci-lint where it is installed, else go vet and gofmt.
	@scripts/lint

bench: ## Measure what every driver costs, beside containerd's, on ext4, xfs and btrfs; the report is in bench-report/ (hours).
	@scripts/install-test-deps
	cd bench/peers && $(GO) run ./run -fs ext4,xfs,btrfs,tmpfs -out ../../bench-report

bench-go: ## Run the benchmarks of Go's testing package, and compare applying and diffing with other libraries.
	$(GO) test -run '^$$' -bench . -benchmem ./...
	cd bench/peers && $(GO) test -run '^$$' -bench . -timeout 30m ./...

clean: ## Remove what was built here.
	rm -rf bin dist bench-report

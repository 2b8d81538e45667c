# Each target does its own set-up: tools are built from source, at the versions
# below, through the Go module proxy into .tools/, and only when they are not
# there yet. The one thing that may ask for more is integration/setup.sh.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# A tool's version and the Go that built it are in its path: a change of
# either makes it a file that does not exist yet.
TOOLS         := .tools/$(shell go env GOVERSION)
BUF           := $(TOOLS)/buf@v1.75.0/buf
GEN_GO        := $(TOOLS)/protoc-gen-go@v1.36.12/protoc-gen-go
GEN_GRPC      := $(TOOLS)/protoc-gen-go-grpc@v1.6.2/protoc-gen-go-grpc
GOLANGCI_LINT := $(TOOLS)/golangci-lint@v2.15.0/golangci-lint

# The engine's packages are tested as parallel as the machine allows, the
# integration tests one after the other: they measure time.
ENGINE = ./journal/... ./replicator/... ./cmd/...

# Given by whoever wants more of go test, as in make test TESTFLAGS=-v.
TESTFLAGS ?=

# How often make soak runs each story, how many it runs at once (most of the time
# they wait), and which: a regular expression of their names.
ROUNDS  ?= 50
AT_ONCE ?= 6
STORIES ?= .*

# How the wire contract becomes Go, and where that goes.
OUT     ?= proto
TEMPLATE = {"version": "v2", "plugins": [ \
	{"local": "$(GEN_GO)", "out": ".", "opt": "paths=source_relative"}, \
	{"local": "$(GEN_GRPC)", "out": ".", "opt": "paths=source_relative"}]}

# What the wire contract must stay compatible with: the last release. Before
# the first one there is no promise to break.
RELEASE ?= $(shell git describe --tags --abbrev=0 --match 'v*' 2>/dev/null)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build demo test soak bench lint generate

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/mailtwin, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/mailtwin ./cmd/mailtwin

demo: build ## replicate a sample mailstore on this machine, in under 30 seconds
	bin/mailtwin demo

test: ## run every test with the race detector, against real Dovecot too
	integration/setup.sh
	go test -race -timeout 10m $(TESTFLAGS) $(ENGINE)
	go test -race -timeout 40m -p 1 $(TESTFLAGS) ./integration/...

soak: ## run each story of hosts that fail ROUNDS times, with other timing each time
	integration/setup.sh
	MAILTWIN_ROUNDS=$(ROUNDS) go test -count=1 -timeout 12h -parallel $(AT_ONCE) -run '^TestScenarios$$/^($(STORIES))$$' $(TESTFLAGS) ./integration/scenario

bench: build ## measure, beside rsync and a floor on the same machine
	integration/setup.sh
	go test -run '^$$' -bench . -benchmem -timeout 20m $(ENGINE) ./integration/engine
	go run ./integration/bench

lint: $(BUF) $(GOLANGCI_LINT) ## check style, walls, go.mod and the wire contract
	$(GOLANGCI_LINT) run ./...
	$(BUF) lint
	$(if $(RELEASE),$(BUF) breaking --against '.git#ref=$(RELEASE)')
	go mod tidy -diff

generate: $(BUF) $(GEN_GO) $(GEN_GRPC) ## generate the Go code of proto/
	$(BUF) generate --output $(OUT) --template '$(TEMPLATE)'

# install builds the tool of the package $(1) at the version in its path.
install = GOBIN=$(CURDIR)/$(@D) GOFLAGS= go install $(1)@$*

$(TOOLS)/buf@%/buf:
	$(call install,github.com/bufbuild/buf/cmd/buf)

$(TOOLS)/protoc-gen-go@%/protoc-gen-go:
	$(call install,google.golang.org/protobuf/cmd/protoc-gen-go)

$(TOOLS)/protoc-gen-go-grpc@%/protoc-gen-go-grpc:
	$(call install,google.golang.org/grpc/cmd/protoc-gen-go-grpc)

$(TOOLS)/golangci-lint@%/golangci-lint:
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint)

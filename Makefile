# The targets a person expects. `make demo` and `make test` set up what they
# need on a Debian 12 machine that has only Go; nothing else has to be run first.

export PATH := $(PATH):/usr/local/go/bin
export CGO_ENABLED := 0

GO       ?= go
SOURCES   = $(shell find cmd internal ion \( -name '*.go' -not -name '*_test.go' \) -o -name '*.bin') go.mod go.sum
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 60s

.PHONY: build build-arm64 nip-pledge setup demo test test-user lint bench bench-start bench-install bench-view bench-cells bench-wall bench-kinetic bench-ion soak docs clean

build: bin/nip

bin/nip: $(SOURCES) build.sh
	./build.sh $@

build-arm64: bin/arm64/nip

bin/arm64/nip: $(SOURCES) build.sh
	GOARCH=arm64 ./build.sh $@

# The C library, its header, nip-pledge, and the package of nip-pledge for cells.
nip-pledge: bin/nip
	nexus/c/build.sh build/nexus
	bin/nip pack build/nexus/recipe.kdl -o bin/nip-pledge.npk

setup:
	test/setup.sh

# Grafts, installs, runs and removes real packages in a root of its own.
demo:
	test/demo.sh

# Everything, as root and as an ordinary user. An ordinary user gets his half.
test:
	test/run.sh $(PACKAGES)

lint:
	test/lint.sh
	$(GO) run $(STATICCHECK) ./...

bench: bench-start bench-install bench-view
	$(GO) test -run '^$$' -bench . -benchtime 200ms ./internal/...

bench-start:
	test/bench/start.sh

bench-install:
	test/bench/install.sh

# Path calls and programs with native views against the same without: in scratch
# trees, and in real cells.
bench-view: bench-cells
	test/bench/view.sh

bench-cells:
	test/bench/cells.sh

# Hostile programs beside others, and what metering costs.
bench-kinetic:
	test/bench/kinetic.sh

# Rings between two processes, beside sockets, pipes and a plain queue in C.
bench-ion:
	test/bench/ion.sh

# What does not go by paths, and what is asked.
bench-wall:
	ONLY=wall test/bench/cells.sh

# Long fuzzing of every fuzz target (FUZZTIME each), and the races and random calls
# of the escape battery at length: some 70 minutes beside the fuzzing.
soak:
	test/soak.sh $(FUZZTIME)

docs: bin/nip
	rm -rf build/docs
	bin/nip docs build/docs
	cp docs/*.[13] build/docs

clean:
	rm -rf bin build cmd/nip/front/whole/nip

# One way to do each thing. Everything here runs on a machine with Go and a C compiler; tools that are
# not there are fetched through the Go module proxy.

GO          ?= go
CC          ?= cc
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.1
TESTFLAGS   ?=
C_SOURCES   := vfs/shim.c vfs/capture.c vfs/pages.c vfs/remote.c vfs/consumer.c vfs/everyfile.c internal/vfstest/trace.c internal/powervfs/power.c bench/internal/slowvfs/slow.c
# What carries no cgo, and must stay so.
PURE        := ./shipper/... ./restore/... ./compaction/... ./store/... ./internal/segment/... ./internal/pagesum/... ./internal/wal/... ./internal/replica/... ./internal/fsops/...

.PHONY: help build demo test soak reliability testservers check bench bench-stores fuzz mutants sqlite-suite peers sanitize clean

help:
	@echo "make demo      write, kill, restore, compare: the main job on a local folder"
	@echo "make test      all tests under the race detector, with the stores' servers"
	@echo "make reliability  docs/RELIABILITY.md anew, as the tests record it (PKG=./vfs: its rows alone)"
	@echo "make soak      random histories for SECONDS (600): kills, loss of power, bad stores"
	@echo "make testservers  what make test needs of them, into .testservers"
	@echo "make check     format, vet, staticcheck, C warnings, builds without cgo"
	@echo "make bench     what replication costs the writer, beside plain SQLite (BENCHFLAGS=-quick; make bench-stores: with all stores)"
	@echo "make fuzz      each fuzz target for FUZZTIME (60s)"
	@echo "make mutants   changes the code in small ways that lose data, and shows which no test notices (MUTANT=fsync: those of that name)"
	@echo "make sqlite-suite  SQLite's own tests through the shim (SUITE=wal2: the files of that name; SUITEFLAGS=-fast)"
	@echo "make peers     what others have written on database/sql (otelsql, sqlmw, sqlx, GORM), on seawal"
	@echo "make sanitize  the shim's tests under ASan and UBSan"
	@echo "make build     the commands into bin/"

build:
	$(GO) build -o bin/ ./cmd/...

demo:
	@$(GO) run ./cmd/demo $(DEMOFLAGS)

# A missing server fails a test here; under a plain go test it skips it. The ledger has a new name each time, so
# that no test that records is taken from the cache.
RECORDED = ledger=$$(mktemp) && trap 'rm -f "$$ledger"' EXIT && SEAWAL_RELIABILITY="$$ledger" SEAWAL_REQUIRE=all $(GO) test -race -timeout 20m $(TESTFLAGS)
# The packages that take longest come first: go test begins them in this order, and none of them is left over at the end with
# most of the machine idle.
LONGEST     := ./vfs ./internal/crashtest ./internal/suitetest
test: testservers
	@$(RECORDED) $(LONGEST) ./... $(if $(TESTFLAGS),,&& $(GO) run ./internal/reliability/cmd -ledger "$$ledger")

# docs/RELIABILITY.md, written by the tests. PKG: only the rows of these packages.
reliability: testservers
	@$(RECORDED) $(or $(PKG),$(LONGEST) ./...) && $(GO) run ./internal/reliability/cmd -ledger "$$ledger" -write $(if $(PKG),$$($(GO) list $(PKG)))

testservers:
	@GO="$(GO)" internal/testserver/install

check: check-format check-c
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	CGO_ENABLED=0 $(GO) build $(PURE)

.PHONY: check-format check-c
check-format:
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt -w needed:"; echo "$$out"; exit 1; fi

check-c:
	@for f in $(C_SOURCES); do \
		echo "$(CC) -Wall -Wextra -Werror $$f"; \
		$(CC) -std=gnu11 -Wall -Wextra -Werror -O2 -fsyntax-only -Iinternal/sqliteabi $$f || exit 1; \
	done

bench:
	$(GO) run ./bench $(BENCHFLAGS)

# The same with all stores, played by servers that a test starts.
bench-stores: testservers
	$(GO) test -c -o bin/bench-stores ./bench
	SEAWAL_REQUIRE=all SEAWAL_BENCH_STORES_FLAGS="$(BENCHFLAGS)" bin/bench-stores -test.run '^TestWithStores$$' -test.timeout 1h

# Random histories until the time is over: processes killed at random moments, at named points and with loss of power,
# and the other tests that draw what they do. SEED=n begins with the histories of another run.
SECONDS ?= 600
soak:
	@$(GO) build -tags seawal_killpoints -o bin/soak ./internal/crashtest/cmd
	@bin/soak -seconds $(SECONDS) $(if $(SEED),-seed $(SEED)) $(SOAKFLAGS)

FUZZTIME ?= 60s
fuzz:
	$(GO) test ./internal/segment -run '^$$' -fuzz FuzzDecode -fuzztime $(FUZZTIME)
	$(GO) test ./internal/segment -run '^$$' -fuzz FuzzName -fuzztime $(FUZZTIME)
	$(GO) test ./restore -run '^$$' -fuzz FuzzReplica -fuzztime $(FUZZTIME)
	$(GO) test ./internal/wal -run '^$$' -fuzz FuzzWAL -fuzztime $(FUZZTIME)

# Not part of make test: it runs tests once for each change of test/mutants/table.txt, which takes an hour. MUTANTFLAGS='-pkg ./store'
# runs those of a package, -list only shows them. An interrupt leaves nothing to put back.
mutants: testservers
	@$(GO) run ./test/mutants -mutant '$(MUTANT)' $(MUTANTFLAGS)

# Not part of make test: it needs SQLite's source, which it fetches (exit code 3: it can't be had).
sqlite-suite:
	@$(GO) build -o bin/suites ./test/suites
	@GO="$(GO)" bin/suites $(if $(SUITE),-files '$(SUITE)') $(SUITEFLAGS)

# A module of its own, whose dependencies seawal doesn't have. Not part of make test: the first time it downloads them.
peers:
	cd test/peers && $(GO) test -count=1 ./...

# The whole C side of the program, SQLite included, is built with the
# sanitizers; the tests that write at random are the ones that find something.
SANITIZE ?= -fsanitize=undefined -fno-sanitize-recover=undefined
sanitize:
	CGO_CFLAGS="-O1 -g $(SANITIZE)" CGO_LDFLAGS="$(SANITIZE)" \
		$(GO) test -asan -timeout 10m -run 'Capture|Ring|Hold|Journal|Rollback|FaultOfEveryCall|PowerLoss' ./vfs
	CGO_CFLAGS="-O1 -g $(SANITIZE)" CGO_LDFLAGS="$(SANITIZE)" \
		$(GO) test -asan -timeout 10m ./internal/vfstest ./internal/powervfs

clean:
	rm -rf bin .testservers

# Millrace: what a newcomer types.  `make help` lists it.
#
# Every part has a Makefile of its own (extension/, sidecar/, test/unit/, bench/); this one calls
# them in the right order.

PG_CONFIG ?= pg_config
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
DURATION ?= 30
RELEASE ?= trixie
ARGS ?=
SANITIZED_POSTGRES ?= /var/tmp/millrace-sanitized-postgres
export PG_CONFIG SAN SANITIZED_POSTGRES WERROR

# For `make install` only: the Postgres folders usually belong to root.
SUDO = $(shell [ -w "$$($(PG_CONFIG) --pkglibdir)" ] || echo sudo)

# The embedded Postgres never runs as root, so its folder must be one that another user can reach.
DATA_DIR ?= $(shell if [ "$$(id -u)" != 0 ] || \
	setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$(CURDIR)" 2>/dev/null; \
	then echo "$(CURDIR)/millrace-data"; else echo /var/lib/millrace; fi)

C_FILES = $(wildcard $(patsubst %,%/*.[ch],extension extension/* sidecar sidecar/* test/unit test/fuzz bench))
SCRIPTS = .ci/run \
	$(wildcard $(patsubst %,%/*.sh,findings test test/* bench sidecar/packaging sidecar/examples))

.DEFAULT_GOAL := all
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST))) # all of them

help: ## this list
	@sed -n -e 's/^\([a-z-]*\):.*## /\1\t/p' -e 's/^#@ /\t  /p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

deps: ## install what is missing (Debian, Ubuntu)
	@test/deps.sh

all: ## build the extension and the program
	$(MAKE) -C extension SAN=
	@if $(MAKE) -s -C sidecar can 2>/dev/null; then $(MAKE) -C sidecar SAN=; \
	else echo "The program is not built: its libraries are missing, which make deps installs." \
		"The extension needs none of them."; fi

install: all ## put the extension into the folders of this machine's Postgres
	$(SUDO) $(MAKE) -C extension SAN= install

uninstall: ## take it out again
	$(SUDO) $(MAKE) -C extension SAN= uninstall

dist: ## the archive for PGXN, millrace-VERSION.zip, of what is committed
	@sidecar/packaging/dist.sh

deb: ## Debian packages of the program and of the extension, in sidecar/build/deb
	@$(MAKE) --no-print-directory deps
	@test/deps.sh --packages
	@sidecar/packaging/deb.sh

run: ## serve on port 8080: make run [DATA_DIR=folder] [ARGS='--port 9000']
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory install
	@$(MAKE) --no-print-directory -C sidecar SAN=
	exec env MILLRACE_DATA_DIR="$(DATA_DIR)" sidecar/millrace serve $(ARGS)

# A warning is an error for us, and never for users: compilers and libraries of tomorrow warn of what is
# right.
test test-installed analyse: export WERROR = 1

test: ## every test, the last line counts them: make test [SAN=1]
	@$(MAKE) --no-print-directory deps
	@test/deps.sh --fuzzing || echo "Going on without the fuzzers."
	@test/deps.sh --browser || echo "Going on without a browser."
	@test/deps.sh --proxies || echo "Going on without proxies."
	@test/deps.sh --alerts || echo "Going on without promtool."
	@test/deps.sh --plugins || echo "Going on without wal2json."
	@$(MAKE) --no-print-directory test-installed

test-installed: # the same, and what needs more than `make deps` is skipped
	@$(MAKE) --no-print-directory install
	@$(MAKE) --no-print-directory -C bench
	@$(if $(SAN),test/deps.sh --sanitized || echo "Going on without a sanitized Postgres.")
	@$(if $(SAN),$(MAKE) --no-print-directory -C sidecar SAN=1)
	@if test/deps.sh --profiling; then $(MAKE) --no-print-directory -C sidecar SAN= PROFILE=1; \
	else echo "Going on without profiles."; fi
	@$(PYTHON) test/run.py $(ARGS)

sanitized-postgres: ## the Postgres of SAN=1, with assertions and each byte of its memory watched
	@test/deps.sh
	@test/deps.sh --sanitized
	@test/sanitize/postgres.sh "$(SANITIZED_POSTGRES)"

test-crash: ## kills at random moments under load, and what got lost
#@ make test-crash [ARGS='--kills 100 --seed 7']
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory install
	@$(PYTHON) test/crash.py $(ARGS)

test-proxies: ## nginx, HAProxy and pgbouncer killed and restarted under load, ten minutes
#@ make test-proxies [ARGS='--seconds 30']
	@$(MAKE) --no-print-directory deps
	@test/deps.sh --proxies
	@$(MAKE) --no-print-directory install
	@$(PYTHON) test/proxies.py $(ARGS)

test-ha: ## three machines under Patroni and etcd, taken apart under load, as root, 40 minutes
#@ make test-ha [ARGS='--only partition --rounds 2']
	@$(MAKE) --no-print-directory deps
	@test/deps.sh --ha
	@$(MAKE) --no-print-directory install
	@$(PYTHON) test/ha.py $(ARGS)

test-overload: ## far too many requests and clients: make test-overload [ARGS='--times 20 --clients 5000']
	@$(MAKE) --no-print-directory ready
	@$(PYTHON) test/overload.py $(ARGS)

test-silence: ## forty servers with a silent subscriber each, ten minutes
#@ make test-silence [ARGS='--servers 10 --minutes 1']
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory install
	@$(PYTHON) test/silence.py $(ARGS)

test-busy: ## the tests beside four processes that take the processors, hours
#@ make test-busy [ARGS='--parts 1 --whole 1']
	@$(MAKE) --no-print-directory ready
	@test/deps.sh --busy
	@test/busy.sh $(ARGS)

test-chaos: ## all that can be done to a table and a server, beside writers and readers
#@ make test-chaos [ARGS='--minutes 10 --seed 7']
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory install
	@$(PYTHON) test/chaos.py $(ARGS)

test-consumers: ## consumers beside kills of members, servers and Postgres, zombies and poison, 20 minutes
#@ make test-consumers [ARGS='--minutes 1 --seed 7']
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory install
	@$(PYTHON) test/consumers.py $(ARGS)

test-decisions: ## appends on condition by clients of all kinds: whether each decision was right, a minute
#@ make test-decisions [ARGS='--seconds 60 --seed 7']
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory install
	@$(PYTHON) test/decisions.py $(ARGS)

test-move: ## moves killed at every step; a million messages go while eight write and four follow, ten minutes
#@ make test-move [ARGS='--messages 1000000 --back']
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory install
	@MOVE_STEPS=all $(PYTHON) test/run.py -k test_moves
	@$(PYTHON) test/moving.py $(ARGS)

test-retention: ## sweeps beside load, archives that are killed, secrets that are to be gone, 15 minutes
#@ make test-retention [ARGS='--only sweeps --messages 100000']
	@$(MAKE) --no-print-directory ready
	@$(PYTHON) test/retention.py $(ARGS)

test-page: ## how fast the web page is in Chromium, and what open pages cost, minutes
#@ make test-page [ARGS='--messages 100000 --rounds 1']
	@$(MAKE) --no-print-directory ready
	@test/deps.sh --browser
	@$(PYTHON) test/page.py $(ARGS)

test-clients: ## the clients that people bring, into sidecar/CLIENTS.md, half an hour
#@ make test-clients [ARGS='--only python --table events']
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory install
	@test/deps.sh --clients || echo "Going on without those that are missing."
	@$(PYTHON) test/clients.py $(ARGS)

test-races: ## the races that readers or writers lost once, again and again
#@ make test-races [ARGS='--times 20']
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory install
	@$(PYTHON) test/races.py $(ARGS)

test-postgres: ## the tests on another Debian and its Postgres, as root
#@ make test-postgres RELEASE=trixie [ARGS='-k test_read']
	@test/postgres.sh $(RELEASE)

test-systems: ## the tests on every system that we claim, as root, over an hour
#@ make test-systems [ARGS='trixie sid']
	@test/systems.sh $(ARGS)

test-bare: ## make run and its curl line on systems with only git, make and gcc, as root
#@ make test-bare [ARGS='trixie']
	@test/bare.sh $(ARGS)

test-deb: RELEASE = bookworm
test-deb: ## the Debian packages on a new system, as root: make test-deb [RELEASE=trixie]
	@test/deb.sh $(RELEASE)

test-pgxn: ## the archive for PGXN by PGXN's client on a new system, as root
#@ make test-pgxn [RELEASE=bookworm]
	@test/pgxn.sh $(RELEASE)

test-images: ## the Dockerfiles and the compose file, without an engine, as root
	@test/deps.sh --images
	@$(PYTHON) test/images.py

test-upgrade: ## stores from PostgreSQL 15, 17 and 18 to each newer one up to 19, as root
#@ make test-upgrade [ARGS='-k swap']
	@test/upgrade.sh

fuzz: ## a long run of the fuzzers: make fuzz [RUNS=1000000], for each of them
	@test/deps.sh --fuzzing
	@$(MAKE) --no-print-directory -C test/fuzz run

installcheck: ## the SQL tests against a running server (PGHOST, PGPORT, PGUSER); after make install
	@$(PYTHON) test/run.py --installcheck

ready: # what the benchmarks stand on
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory install
	@$(MAKE) --no-print-directory -C bench

bench: ## us and the peers side by side, into bench/RESULTS.md: make bench [ARGS='--quick --only append']
	@test/deps.sh --bench >&2
	@test/deps.sh --peers >&2 || echo "Going on without some peers." >&2
	@$(MAKE) --no-print-directory ready >&2
	@if test/deps.sh --profiling >&2; then $(MAKE) --no-print-directory -C sidecar SAN= PROFILE=1 >&2; fi
	@$(PYTHON) bench/bench.py $(ARGS)

bench-load: ## the load of bench/README.md: make bench-load [DURATION=30] [ARGS='--workers 64']
	@$(MAKE) --no-print-directory ready >&2
	@bench/bench-load.sh --duration $(DURATION) $(ARGS)

bench-versions: ## the load on PostgreSQL 15, 17, 18 and 19 side by side, as root
#@ make bench-versions [ARGS='--rounds 20 trixie sid']
	@$(MAKE) --no-print-directory -C bench >&2
	@$(PYTHON) bench/postgres_versions.py $(ARGS)

bench-builds: ## an earlier commit and the working tree side by side
#@ make bench-builds BEFORE=a441bc1 [ARGS='--rounds 20']
	@$(MAKE) --no-print-directory ready >&2
	@$(PYTHON) bench/builds.py $(BEFORE) $(ARGS)

bench-consumers: ## consumers beside queue tables and positions: make bench-consumers [ARGS='--rounds 1']
	@$(MAKE) --no-print-directory ready >&2
	@$(PYTHON) bench/consumers.py $(ARGS)

bench-queries: ## appends on condition beside other stores: make bench-queries [ARGS='--rounds 3']
	@test/deps.sh --peers >&2 || echo "Going on without some peers." >&2
	@$(MAKE) --no-print-directory ready >&2
	@$(PYTHON) bench/queries.py $(ARGS)

bench-message-db: ## only that part: our Message DB functions beside Message DB's own
	@$(MAKE) --no-print-directory bench ARGS='--only message-db $(ARGS)'

bench-subscribe: ## subscriptions: latency, catch-up, memory
	@$(MAKE) --no-print-directory ready >&2
	@$(PYTHON) bench/subscribe.py $(ARGS)

bench-bulk: ## export and import of a million messages
	@$(MAKE) --no-print-directory ready >&2
	@$(PYTHON) bench/bulk.py $(ARGS)

profile-baseline: ## where time and memory go under the load
#@ make profile-baseline [DURATION=30] [ARGS='--workers 64']
	@test/deps.sh --profiling >&2
	@$(MAKE) --no-print-directory ready >&2
	@$(MAKE) --no-print-directory -C sidecar SAN= PROFILE=1 >&2
	@$(PYTHON) bench/profile_baseline.py --duration $(DURATION) $(ARGS)

profile-compare: ## two of them side by side: make profile-compare BASELINE=folder OPTIMIZED=folder
	@$(PYTHON) bench/profile_compare.py $(BASELINE) $(OPTIMIZED)

format: ## lay out the C files
	clang-format -i $(C_FILES)

analyse: ## clang-tidy and cppcheck over all C files, two minutes
	@$(MAKE) --no-print-directory deps
	@test/deps.sh --analysis
	@test/analyse.sh

lint: ## layout, widths, layers, what is said once, and shell scripts
	clang-format --dry-run -Werror $(C_FILES)
	$(PYTHON) test/layers.py
	$(PYTHON) test/lines.py
	$(PYTHON) test/agreement.py
	$(PYTHON) test/references.py
	$(PYTHON) test/versions.py
	shellcheck $(SCRIPTS)

clean: ## remove what was built
	$(MAKE) -C extension clean
	$(MAKE) -C sidecar clean
	$(MAKE) -C test/unit clean
	$(MAKE) -C test/fuzz clean
	$(MAKE) -C bench clean
	rm -f millrace-*.zip

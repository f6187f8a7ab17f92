#!/bin/bash
# pg_dump 18.6 (Debian unstable's) dumps a table of PostgreSQL 17.12 (Debian 13's) with an option of its
# columns that 18.6 refuses.
#
# First guess: a table without any options moves from 17 to 18 by 18's pg_dump, which reads all older servers
#   and writes what 18 takes.
# Behaviour: 17.12 keeps a number with each column of a new table, in pg_attribute.attoptions, as an option
#   "pg_attver".  17.12's own pg_dump leaves it out; 18.6's doesn't know it and writes ALTER TABLE ... SET
#   (pg_attver=...), which 18.6's server refuses: a restore that ends at the first error ends there.  RESET is
#   taken by 17.12, and changes nothing.
# Output seen:
#   17.12: CREATE TABLE t (n integer)
#   17.12: attoptions of t.n: {pg_attver=NUMBER}
#   dumped by 17.12: CREATE TABLE public.t
#   dumped by 18.6: CREATE TABLE public.t
#   dumped by 18.6: ALTER TABLE ONLY public.t ALTER COLUMN n SET (pg_attver=NUMBER);
#   restored by 17.12's dump: OK
#   restored by 18.6's dump: unrecognized parameter "pg_attver"
#   17.12: ALTER TABLE t ALTER n RESET (pg_attver)
#   17.12: attoptions of t.n: {pg_attver=NUMBER}
#   restored by 18.6's dump: unrecognized parameter "pg_attver"
# Consequence: before the move the newer version gets a minor release that isn't from before the older one's
#   (17.12 is of November 2026, 18.6 of August).
#
# Debian's packages are fetched into a temporary folder by this machine's apt, and PostgreSQL runs there as
# nobody; needs root and Debian's archive keys.  Exit code 1: it is no longer so.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
cd "$work"
# shellcheck disable=SC2016 # apt's own variable
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)

# install ROOT SUITE PACKAGES...
install() {
	local folder=$work/$2 root=$1 suite=$2 apt package
	shift 2
	mkdir -p "$folder"/{lists/partial,cache/archives/partial}
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site%/} $suite main" \
		>"$folder/sources.list"
	touch "$folder/status"
	apt=(timeout 300 apt-get -q -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache"
		-o "Dir::State::status=$folder/status" -o "Dir::Etc::sourcelist=$folder/sources.list"
		-o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root)
	{
		"${apt[@]}" update &&
			"${apt[@]}" install -y --download-only --no-install-recommends "$@"
	} >log 2>&1 || {
		tail -n 5 log
		exit 2
	}
	mkdir -p "$root"/{dev,usr/{bin,lib,lib64,sbin}}
	ln -s usr/bin usr/lib usr/lib64 usr/sbin "$root"
	for package in "$folder"/cache/archives/*.deb; do
		dpkg -x "$package" "$root"
	done
	mkdir -m 1777 "$root/tmp"
	echo 'postgres:x:65534:65534::/:/bin/sh' >"$root/etc/passwd"
}

# The older system stands within the newer one, whose programs reach its server's socket so.
install root sid postgresql-18=18.6-3 dash
install root/old trixie postgresql-17=17.12-0+deb13u1 dash

run() {
	local root=$1 version=$2
	shift 2
	env -i "PATH=/usr/lib/postgresql/$version/bin:/usr/bin" LC_ALL=C PGHOST=/tmp PGUSER=postgres \
		/usr/sbin/chroot --userspec=65534:65534 "$root" "$@"
}
new() { run root 18 "$@"; }
old() { run root/old 17 "$@"; }

create() {
	"$1" initdb -D /tmp/data -U postgres -A trust -N >log
	"$1" pg_ctl -D /tmp/data -w -l /tmp/log -o '-k /tmp -c listen_addresses=' start >log
}

numberless() { sed 's/pg_attver=[0-9]*/pg_attver=NUMBER/'; }

options() {
	old psql -X -A -t -c "SELECT '17.12: attoptions of t.n: ' || attoptions::text FROM pg_attribute
		WHERE attrelid = 't'::regclass AND attname = 'n'" | numberless
}

statement() {
	echo "17.12: $1"
	old psql -X -q -c "$1"
}

shown() { grep -E 'CREATE TABLE|pg_attver' "$1" | sed "s/ ($//; s/^/dumped by $2: /" | numberless; }

restore() {
	local said
	new psql -X -q -c 'DROP TABLE IF EXISTS t' 2>log
	said=$(new psql -X -q -v ON_ERROR_STOP=1 <"$1" 2>&1 >log) || :
	said=${said#ERROR:  }
	echo "restored by $2's dump: ${said:-OK}"
}

# In namespaces of their own: the mounts and the servers end with it.
try() {
	local root
	for root in root root/old; do
		mount --rbind /dev $root/dev
		mount -t tmpfs -o mode=1777 tmpfs $root/dev/shm
	done
	create new
	create old
	statement 'CREATE TABLE t (n integer)'
	options
	old pg_dump postgres >old.sql
	new pg_dump -h /old/tmp postgres >new.sql
	shown old.sql 17.12
	shown new.sql 18.6
	restore old.sql 17.12
	restore new.sql 18.6
	statement 'ALTER TABLE t ALTER n RESET (pg_attver)'
	options
	new pg_dump -h /old/tmp postgres >new.sql
	restore new.sql 18.6
	old pg_ctl -D /tmp/data -m fast stop >log
	new pg_ctl -D /tmp/data -m fast stop >log
}
export -f run new old create numberless options statement shown restore try
timeout 120 unshare --mount --pid --fork --kill-child bash -euo pipefail -c try | tee seen
diff <(sed -n '/^# Output seen:/,/^# Consequence/s/^#   //p' "$here") seen

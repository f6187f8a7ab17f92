#!/bin/bash
# A GRANT in the update script of an extension (PostgreSQL 15.18, Debian 12's; 18.6 does the same) takes an
# administrator's own grants on that object out of the dump.
#
# First guess: what the extension's script grants is the extension's, and pg_dump leaves only that out, as
#   CREATE EXTENSION will grant it again.  What the administrator granted by hand before the update is dumped,
#   as it was before.
# Behaviour: a GRANT in the script makes all privileges that the object has at that moment its initial ones,
#   in pg_init_privs, those from before the update as well.  pg_dump dumps the difference to these, so the
#   administrator's grant is lost by a restore, without a word.  An object that the script doesn't touch keeps
#   it.
# Output seen:
#   before the update, the dump has:
#   GRANT ALL ON FUNCTION public.touched() TO reader;
#   GRANT ALL ON FUNCTION public.untouched() TO reader;
#   after GRANT ... ON FUNCTION touched() TO app in the update, it has:
#   GRANT ALL ON FUNCTION public.untouched() TO reader;
#   initial privileges of touched: {postgres=X/postgres,reader=X/postgres,app=X/postgres}
#   initial privileges of untouched: {postgres=X/postgres}
#   reader may call touched before the dump: t
#   reader may call touched after the restore: f
# Consequence: an update script that grants sets pg_init_privs right itself.
#
# Debian 12's packages are fetched into a temporary folder by this machine's apt, and PostgreSQL runs there as
# nobody; needs root and Debian's archive keys.  Exit code 1: it is no longer so.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial
# shellcheck disable=SC2016 # apt's own variable
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site%/} bookworm main" >sources.list
touch status
apt=(timeout 300 apt-get -q -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
	-o "Dir::State::status=$work/status" -o "Dir::Etc::sourcelist=$work/sources.list"
	-o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root)
{
	"${apt[@]}" update &&
		"${apt[@]}" install -y --download-only --no-install-recommends postgresql-15=15.18-0+deb12u1 dash
} >log 2>&1 || {
	tail -n 5 log
	exit 2
}
mkdir -p root/{dev,usr/{bin,lib,lib64,sbin}}
ln -s usr/bin usr/lib usr/lib64 usr/sbin root
for package in cache/archives/*.deb; do
	dpkg -x "$package" root
done
install -d -m 1777 root/tmp
echo 'postgres:x:65534:65534::/:/bin/sh' >root/etc/passwd

extensions=root/usr/share/postgresql/15/extension
echo "default_version = '2'" >$extensions/toy.control
cat >$extensions/toy--1.sql <<'END'
CREATE FUNCTION touched() RETURNS integer RETURN 1;
CREATE FUNCTION untouched() RETURNS integer RETURN 1;
REVOKE ALL ON FUNCTION touched(), untouched() FROM PUBLIC;
END
echo 'GRANT EXECUTE ON FUNCTION touched() TO app;' >$extensions/toy--1--2.sql

run() {
	env -i PATH=/usr/lib/postgresql/15/bin:/usr/bin LC_ALL=C PGHOST=/tmp PGUSER=postgres \
		/usr/sbin/chroot --userspec=65534:65534 root "$@"
}

sql() { run psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

# In namespaces of their own: the mounts and the server end with it.
try() {
	mount --rbind /dev root/dev
	mount -t tmpfs -o mode=1777 tmpfs root/dev/shm
	run initdb -D /tmp/data -U postgres -A trust -N >log
	run pg_ctl -D /tmp/data -w -l /tmp/log -o '-k /tmp -c listen_addresses=' start >log
	sql -c 'CREATE ROLE app' -c 'CREATE ROLE reader' -c "CREATE EXTENSION toy VERSION '1'" \
		-c 'GRANT EXECUTE ON FUNCTION touched(), untouched() TO reader'
	echo "before the update, the dump has:"
	run pg_dump postgres | grep '^GRANT'
	sql -c 'ALTER EXTENSION toy UPDATE'
	echo "after GRANT ... ON FUNCTION touched() TO app in the update, it has:"
	run pg_dump postgres | tee dump | grep '^GRANT'
	sql -c "SELECT format('initial privileges of %s: %s', proname, initprivs)
		FROM pg_init_privs JOIN pg_proc p ON p.oid = objoid
		WHERE classoid = 'pg_proc'::regclass AND proname LIKE '%touched' ORDER BY proname"
	run createdb restored
	sql -d restored <dump >log
	may="has_function_privilege('reader', 'public.touched()', 'EXECUTE')"
	sql -c "SELECT format('reader may call touched before the dump: %s', $may)"
	sql -d restored -c "SELECT format('reader may call touched after the restore: %s', $may)"
	run pg_ctl -D /tmp/data -m fast stop >log
}
export -f run sql try
timeout 120 unshare --mount --pid --fork --kill-child bash -euo pipefail -c try | tee seen
diff <(sed -n '/^# Output seen:/,/^# Consequence/s/^#   //p' "$here") seen

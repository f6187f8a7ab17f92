#!/bin/bash
# PostgreSQL 18 (18.6, Debian unstable's) looks for a C function's library '$libdir/NAME' in
# dynamic_library_path, not in $libdir.
#
# First guess: '$libdir/citext', as in citext's control file, is the file in the server's own folder of
#   libraries, whatever dynamic_library_path says: it has a directory part, and by the documentation that
#   stands for that folder ("Dynamic Loading").  So it is up to 17.
# Behaviour: a function's '$libdir/' is cut off where only a plain name follows, and the name is looked for in
#   dynamic_library_path.  Without $libdir in that, the extensions in the server's own folder aren't found;
#   and a library in another folder of the path is.  The error names what is left of the name; the catalogue
#   keeps the whole.  With a folder behind $libdir, and for LOAD, it is as documented.
# Output seen: module_pathname = '$libdir/citext' dynamic_library_path = $libdir CREATE EXTENSION citext: OK
#   dynamic_library_path = /tmp/elsewhere CREATE EXTENSION citext: could not access file "citext": No such
#   file or directory CREATE FUNCTION ... AS '$libdir/citext': could not access file "citext": No such file or
#   directory LOAD '$libdir/citext': OK CREATE FUNCTION ... AS '$libdir/sub/moved': could not access file
#   "$libdir/sub/moved": No such file or directory CREATE FUNCTION ... AS '$libdir/moved': OK LOAD
#   '$libdir/moved': could not access file "$libdir/moved": No such file or directory the catalogue has
#   $libdir/moved
# Consequence: dynamic_library_path keeps $libdir whenever it is set, and an error's "NAME" may be
#   '$libdir/NAME'.
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
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site%/} sid main" >sources.list
touch status
apt=(timeout 300 apt-get -q -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
	-o "Dir::State::status=$work/status" -o "Dir::Etc::sourcelist=$work/sources.list"
	-o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root)
{
	"${apt[@]}" update &&
		"${apt[@]}" install -y --download-only --no-install-recommends postgresql-18=18.6-3 dash
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

mkdir -p root/tmp/elsewhere/sub
for copy in moved sub/moved; do
	cp root/usr/lib/postgresql/18/lib/citext.so root/tmp/elsewhere/$copy.so
done

run() {
	env -i PATH=/usr/lib/postgresql/18/bin:/usr/bin LC_ALL=C PGHOST=/tmp PGUSER=postgres \
		/usr/sbin/chroot --userspec=65534:65534 root "$@"
}

# with PATH NAME STATEMENT: in a session with that dynamic_library_path
with() {
	local said
	if said=$(run psql -X -q -v ON_ERROR_STOP=1 -v VERBOSITY=terse \
		-c "SET dynamic_library_path = '$1'" -c "$3" 2>&1); then
		said=OK
	fi
	echo "$2: ${said#ERROR:  }"
}

function_of() {
	with /tmp/elsewhere "CREATE FUNCTION ... AS '$1'" \
		"CREATE FUNCTION f() RETURNS void LANGUAGE c AS '$1', 'citext_eq'"
}

# In namespaces of their own: the mounts and the server end with it.
# shellcheck disable=SC2016 # $libdir is PostgreSQL's
try() {
	mount --rbind /dev root/dev
	mount -t tmpfs -o mode=1777 tmpfs root/dev/shm
	run initdb -D /tmp/data -U postgres -A trust -N >log
	run pg_ctl -D /tmp/data -w -l /tmp/log -o '-k /tmp -c listen_addresses=' start >log
	grep module_pathname root/usr/share/postgresql/18/extension/citext.control
	echo 'dynamic_library_path = $libdir'
	with '$libdir' 'CREATE EXTENSION citext' 'CREATE EXTENSION citext; DROP EXTENSION citext'
	echo 'dynamic_library_path = /tmp/elsewhere'
	with /tmp/elsewhere 'CREATE EXTENSION citext' 'CREATE EXTENSION citext'
	function_of '$libdir/citext'
	with /tmp/elsewhere "LOAD '\$libdir/citext'" "LOAD '\$libdir/citext'"
	function_of '$libdir/sub/moved'
	function_of '$libdir/moved'
	with /tmp/elsewhere "LOAD '\$libdir/moved'" "LOAD '\$libdir/moved'"
	run psql -X -A -t -c "SELECT 'the catalogue has ' || probin FROM pg_proc WHERE proname = 'f'"
	run pg_ctl -D /tmp/data -m fast stop >log
}
export -f run with function_of try
timeout 120 unshare --mount --pid --fork --kill-child bash -euo pipefail -c try | tee seen
diff <(sed -n '/^# Output seen:/,/^# Consequence/s/^#   //p' "$here") seen

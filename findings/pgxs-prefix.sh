#!/bin/bash
# `make install prefix=FOLDER` with PGXS of PostgreSQL 18 (Debian unstable's 18.6-3) installs into the
# server's folders all the same.
#
# First guess: as the documentation of 18 says ("Extension Building Infrastructure", for
#   extension_control_path): the control file and the SQL go to FOLDER/share/postgresql/extension, the
#   libraries to FOLDER/lib/postgresql, and nothing elsewhere.
# Behaviour: FOLDER stays empty.  With a prefix, Makefile.global takes the folders that configure was told,
#   and Debian tells it each of them in full, without the prefix.  The variables datadir and pkglibdir are
#   heard.
# Output seen:
#   make install prefix=/opt/extras
#   /usr/lib/postgresql/18/lib/toy.so
#   /usr/share/postgresql/18/extension/toy--1.sql
#   /usr/share/postgresql/18/extension/toy.control
#   make install datadir=/opt/extras/share/postgresql pkglibdir=/opt/extras/lib/postgresql
#   /opt/extras/lib/postgresql/toy.so
#   /opt/extras/share/postgresql/extension/toy--1.sql
#   /opt/extras/share/postgresql/extension/toy.control
# Consequence: a Makefile that is to take prefix= sets these two from it.
#
# Debian's packages are fetched into a temporary folder by this machine's apt, and make runs there; needs root
# and Debian's archive keys.  Exit code 1: it is no longer so.
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
{ "${apt[@]}" update && "${apt[@]}" install -y --download-only --no-install-recommends \
	postgresql-client-18=18.6-3 coreutils dash make; } >log 2>&1 || {
	tail -n 5 log
	exit 2
}
mkdir -p root/usr/{bin,lib,lib64,sbin}
ln -s usr/bin usr/lib usr/lib64 usr/sbin root
for package in cache/archives/*.deb; do
	dpkg -x "$package" root
done

mkdir root/{dev,opt,toy}
touch root/dev/null
cat >root/toy/Makefile <<'END'
EXTENSION = toy
DATA = toy--1.sql
MODULES = toy
PG_CONFIG = /usr/lib/postgresql/18/bin/pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
END
# What the library contains is of no matter: nothing is compiled, and LLVM is left out.
touch root/toy/toy.control root/toy/toy--1.sql root/toy/toy.so

# attempt VARIABLE=VALUE...
attempt() {
	local target
	echo "make install $*"
	for target in install uninstall; do
		env -i PATH=/usr/bin timeout 60 /usr/sbin/chroot root make -s -C /toy with_llvm=no "$target" "$@" >&2
		(cd root && find opt usr -name 'toy*' | sed 's|^|/|' | LC_ALL=C sort)
	done
}

{
	attempt prefix=/opt/extras
	attempt datadir=/opt/extras/share/postgresql pkglibdir=/opt/extras/lib/postgresql
} | tee seen
diff <(sed -n '/^# Output seen:/,/^# Consequence/s/^#   //p' "$here") seen

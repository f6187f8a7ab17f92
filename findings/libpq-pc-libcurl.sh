#!/bin/bash
# pkg-config doesn't know the libpq of PostgreSQL 19 (Debian experimental's libpq-dev 19~rc1-1) when libpq-dev
# was installed.
#
# First guess: where libpq-dev is installed, with all that it depends on, `pkg-config --cflags libpq` and
#   `--libs libpq` answer, as with 18's.  What a program linked with the shared library doesn't need is asked
#   for by --static only.
# Behaviour: libpq.pc of 19 has "Requires.private: ... libcurl", and libpq-dev depends on none of the packages
#   with libcurl.pc.  pkgconf reads the private ones for --exists, --cflags and --libs, too, and fails.
#   --modversion alone answers.  (18's has -lcurl in Libs.private, which asks for no file.)
# Output seen:
#   Requires.private: libssl, libcrypto, libcurl
#   pkg-config --modversion libpq: 19rc1
#   pkg-config --exists libpq: exit code 1
#   pkg-config --cflags libpq: exit code 1
#   pkg-config --libs libpq: exit code 1
#   Package 'libcurl', required by 'libpq', not found
# Consequence: libpq is looked for by pg_config, or libcurl4-openssl-dev is installed beside libpq-dev.
#
# Debian's packages are fetched into a temporary folder by this machine's apt, which chooses what libpq-dev
# and pkgconf depend on as on an empty system; needs Debian's archive keys.  Exit code 1: it is no longer so.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial
# shellcheck disable=SC2016 # apt's own variable
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)
for suite in sid experimental; do
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site%/} $suite main"
done >sources.list
touch status
apt=(timeout 300 apt-get -q -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
	-o "Dir::State::status=$work/status" -o "Dir::Etc::sourcelist=$work/sources.list"
	-o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root)
{ "${apt[@]}" update && "${apt[@]}" install -y --download-only --no-install-recommends \
	libpq-dev=19~rc1-1 libpq5=19~rc1-1 pkgconf=2.5.1-4; } >log 2>&1 || {
	tail -n 5 log
	exit 2
}
mkdir -p root/usr/{bin,lib,lib64,sbin}
ln -s usr/bin usr/lib usr/lib64 usr/sbin root
for package in cache/archives/*.deb; do
	dpkg -x "$package" root
done

lib=$(dirname "$(find root/usr -name 'libpkgconf.so.*' | head -n 1)")

# By the C library that pkgconf was made for.
config() {
	PKG_CONFIG_LIBDIR=$lib/pkgconfig timeout 60 \
		"$(find root/usr -name 'ld-linux-*.so.*' -o -name 'ld-linux.so.*' | head -n 1)" \
		--library-path "$lib" root/usr/bin/pkgconf "$@" libpq
}

ask() {
	local said
	said=$(config "$1" 2>errors) || said="exit code $?"
	echo "pkg-config $1 libpq: $said"
}

{
	grep '^Requires.private' "$lib/pkgconfig/libpq.pc"
	for question in --modversion --exists --cflags --libs; do
		ask "$question"
	done
	tail -n 1 errors
} | tee seen
diff <(sed -n '/^# Output seen:/,/^# Consequence/s/^#   //p' "$here") seen

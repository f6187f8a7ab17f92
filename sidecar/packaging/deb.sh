#!/bin/bash
# Builds the Debian packages millrace and postgresql-NN-millrace into sidecar/build/deb: the usual
# dpkg-buildpackage, on a copy of the sources with debian/ where it looks for it.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
out=$root/sidecar/build/deb
version=$(sed -n 's/^#define MILLRACE_VERSION "\(.*\)"$/\1/p' "$root/sidecar/base/version.h")

rm -rf "$out"
mkdir -p "$out/millrace"
tar -c -C "$root" --exclude=build --exclude=build-san --exclude='*.o' --exclude='*.so' \
	--exclude=sidecar/millrace CHANGELOG.md extension sidecar | tar -x -C "$out/millrace"
cd "$out/millrace"
mv sidecar/packaging/debian .
cp "$root/LICENSE" debian/copyright
[ "$(dpkg-parsechangelog -S Version)" = "$version" ] || {
	echo "sidecar/packaging/debian/changelog does not begin with version $version" >&2
	exit 1
}
pg_buildext updatecontrol
dpkg-buildpackage --build=binary --no-sign
ls ../*.deb

#!/bin/bash
# Fetches PgBouncer as Debian's releases have it, for http/test_pooler.py, as root:
#
#   test/pgbouncer.sh [RELEASE...]
#
# Each goes to $MILLRACE_RELEASES/pgbouncer/RELEASE/pgbouncer and runs with the libraries of its release,
# which postgres.sh has put into $MILLRACE_RELEASES/RELEASE.
set -euo pipefail

releases=${MILLRACE_RELEASES:-/var/cache/millrace}

fetch() { chroot "$root" sh -c "cd /tmp && apt-get -qq download $1" 2>/dev/null; }

[ $# -gt 0 ] || set -- bookworm trixie sid

for release; do
	root=$releases/$release
	to=$releases/pgbouncer/$release
	rm -f "$root"/tmp/pgbouncer_*.deb "$root"/tmp/libc*ares2_*.deb
	fetch pgbouncer
	fetch libcares2 || fetch libc-ares2 # its name before trixie
	rm -rf "$to" && mkdir -p "$to/files"
	for package in "$root"/tmp/pgbouncer_*.deb "$root"/tmp/libc*ares2_*.deb; do
		dpkg -x "$package" "$to/files" && rm "$package"
	done
	libraries=$root/usr/lib/x86_64-linux-gnu
	cat >"$to/pgbouncer" <<-END
		#!/bin/sh
		exec $libraries/ld-linux-x86-64.so.2 \\
			--library-path $to/files/usr/lib/x86_64-linux-gnu:$libraries \\
			$to/files/usr/sbin/pgbouncer "\$@"
	END
	chmod +x "$to/pgbouncer"
	"$to/pgbouncer" --version | head -1
done

#!/bin/bash
# Runs the tests on another Debian release, with the PostgreSQL that it brings:
#
#   test/postgres.sh RELEASE [COMMAND...]
#
# bookworm has PostgreSQL 15, trixie 17, sid 18; `experimental` is sid with experimental's 19.  The release is
# installed with debootstrap into a folder, $MILLRACE_RELEASES/RELEASE, which is kept: remove it to begin from
# nothing.  It holds no more than make and sudo at first; `make deps` installs the rest, as on a new machine.
# The files that git knows or would add are copied there, and the tests run on them.
#
# A COMMAND runs there instead of the tests.  AS=user runs it as an ordinary user that may use sudo.
# Needs root.  Processes and mounts end with the script: they live in namespaces of their own.
set -euo pipefail

release=${1:?"which release? bookworm, trixie, sid or experimental"}
root=${MILLRACE_RELEASES:-/var/cache/millrace}/$release
source=$(cd "$(dirname "$0")/.." && pwd)
home=/home/tester

install_release() {
	command -v debootstrap >/dev/null || apt-get install -y --no-install-recommends debootstrap
	echo "Installing Debian $release into $root"
	rm -rf --one-file-system "$root.new"
	mkdir -p "$root.new"
	# Its mounts end with it, however it ends.
	unshare --mount debootstrap --variant=minbase --include=make,sudo \
		"${release/experimental/sid}" "$root.new" >"$root.log" || {
		tail -n 5 "$root.log"
		exit 1
	} >&2
	# A mirror may be behind, and the packages of a test need not be the newest.
	echo 'Acquire::Check-Valid-Until "false";' >"$root.new/etc/apt/apt.conf.d/80millrace"
	chroot "$root.new" useradd --home-dir "$home" --create-home --shell /bin/bash tester
	echo 'tester ALL=(ALL) NOPASSWD: ALL' >"$root.new/etc/sudoers.d/tester"
	[ "$release" != experimental ] || install_experimental
	mv "$root.new" "$root"
}

# Only what is named comes from there, and what that needs of it: not a perl that is on its way, for instance.
install_experimental() {
	local sources=$root.new/etc/apt/sources.list
	sed 's/ sid / experimental /' "$sources" >"$sources.d/experimental.list"
	# shellcheck disable=SC2016 # the shell that is called; what configures the packages wants /proc
	DEBIAN_FRONTEND=noninteractive unshare --mount bash -c \
		'mount -t proc proc "$0/proc" && exec chroot "$0" bash -c "$1"' "$root.new" \
		'apt-get update && apt-get install -y --no-install-recommends \
			postgresql{,-client,-server-dev}-19/experimental libpq{5,-dev}/experimental' >>"$root.log"
}

copy_source() {
	rm -rf "$root$home/millrace"
	mkdir "$root$home/millrace"
	chmod 755 "$root$home"
	git -C "$source" ls-files -z --cached --others --exclude-standard |
		tar -c -C "$source" --null --files-from=- | tar -x -C "$root$home/millrace"
	chroot "$root" chown -R tester: "$home/millrace"
}

# In namespaces of our own already.
run_inside() {
	local user=root environment
	[ "${AS:-}" != user ] || user=tester
	environment=(PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive USER="$user"
		HOME="$(chroot "$root" getent passwd "$user" | cut -d: -f6)" ARGS="${ARGS:-}" SAN="${SAN:-}")
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
	# Process 1 is a shell that waits: it also reaps a Postgres that was killed, whose lock file would count
	# else.  shellcheck disable=SC2016 # "$@" is for the shell that is started
	exec chroot "$root" setpriv --reuid="$user" --regid="$user" --init-groups env -i "${environment[@]}" \
		bash -c 'cd ~tester/millrace && "$@"; exit $?' bash "$@"
}

if [ "${2:-}" = --inside ]; then
	shift 2
	run_inside "$@"
fi
[ "$(id -u)" = 0 ] || {
	echo "$0: installing a release needs root" >&2
	exit 1
}
[ -d "$root" ] || install_release
copy_source
shift
[ $# -gt 0 ] || set -- make deps test-installed
# The namespace of processes ends with its first one, and with it all that was started there.
exec unshare --mount --pid --fork --kill-child "$0" "$release" --inside "$@"

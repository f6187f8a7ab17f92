#!/bin/bash
# What a newcomer does, on a system that has nothing but git, make and gcc, as root:
#
#   test/bare.sh [RELEASE...]
#
# Clones what is committed, types `make run`, and pastes the curl line that it prints.  The releases are
# bookworm, trixie and sid unless others are named.  Each is installed with debootstrap into
# $MILLRACE_RELEASES/RELEASE.bare (see postgres.sh), which stays as it was installed: what `make run` changes
# is kept in memory.
#
# The server listens on every address, as it does by default, but in a network of its own.  There are no
# packages to be had there, so `make deps`, with which `make run` begins, runs before by itself.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
releases=${MILLRACE_RELEASES:-/var/cache/millrace}
root=/mnt/root

install_bare() {
	local bare=$releases/$1.bare
	rm -rf --one-file-system "$bare.new"
	mkdir -p "$bare.new"
	# Its mounts end with it, however it ends.
	unshare --mount debootstrap --variant=minbase --include=git,make,gcc "$1" "$bare.new" >"$bare.log"
	# A mirror may be behind.
	echo 'Acquire::Check-Valid-Until "false";' >"$bare.new/etc/apt/apt.conf.d/80millrace"
	mv "$bare.new" "$bare"
}

# in_bare COMMAND...: as root, the only user, in the home folder
in_bare() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 bash -euc "$1"; }

# In namespaces of our own, which end with this process, and with them what was started here.
prepare() {
	mount -t tmpfs tmpfs /mnt
	mkdir /mnt/upper /mnt/work "$root"
	mount -t overlay -o "lowerdir=$releases/$1.bare,upperdir=/mnt/upper,workdir=/mnt/work" overlay "$root"
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
	git -C "$here/.." bundle create --quiet "$root/root/millrace.bundle" HEAD
	cp "$0" "$root/root/bare.sh"
	in_bare 'cd; git -c init.defaultBranch=main -c advice.detachedHead=false \
		clone --quiet millrace.bundle millrace'
	in_bare 'cd ~/millrace; make deps >../log 2>&1 || { tail -n 30 ../log; exit 1; }'
	unshare --net "$0" --run
}

run_it() {
	ip link set lo up
	in_bare 'cd ~/millrace; exec bash ../bare.sh --newcomer'
}

# Types, waits, pastes, and presses Ctrl-C.
newcomer() {
	local run line answer
	set -m
	make run >>/root/log 2>&1 &
	run=$!
	until line=$(grep -E '^    curl ' /root/log); do
		if ! kill -0 "$run" 2>/dev/null; then
			tail -n 30 /root/log
			exit 1
		fi
		sleep 0.2
	done
	answer=$(bash -c "$line")
	sed -n '/^millrace: listening/,$p' /root/log
	echo "$answer"
	kill -INT -- "-$run"
	wait "$run" || true
	[ "$answer" = '{"position":0,"globalPosition":1}' ]
}

case ${1:-} in
--newcomer)
	newcomer
	exit
	;;
--prepare)
	prepare "$2"
	exit
	;;
--run)
	run_it
	exit
	;;
esac
[ "$(id -u)" = 0 ] || {
	echo "$0: installing a release needs root" >&2
	exit 1
}
[ $# -gt 0 ] || set -- bookworm trixie sid
passed=0 failed=0
for release in "$@"; do
	command -v debootstrap >/dev/null || apt-get install -y --no-install-recommends debootstrap
	[ -d "$releases/$release.bare" ] || install_bare "$release"
	echo "== make run on a bare $release"
	if unshare --mount --pid --fork --kill-child bash -c '"$@"; exit $?' bash "$0" --prepare "$release"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
exit $((failed > 0))

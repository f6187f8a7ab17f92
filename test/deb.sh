#!/bin/bash
# Builds the Debian packages on a Debian release, judges them with lintian, and tries them on a new
# system of that release, which is booted with its systemd.  As root:
#
#   test/deb.sh RELEASE
#
# The new system is a folder of its own below $MILLRACE_RELEASES (see postgres.sh) that stays as it was
# installed: what the trial changes is kept in memory.  It runs in namespaces and a control group of
# its own, without a network but the loopback.
set -euo pipefail

release=${1:?"which release? bookworm or trixie"}
here=$(cd "$(dirname "$0")" && pwd)
releases=${MILLRACE_RELEASES:-/var/cache/millrace}
new=$releases/$release.new-system
root=/mnt/root

install_release() {
	echo "Installing Debian $release into $new"
	rm -rf --one-file-system "$new.part"
	mkdir -p "$new.part"
	unshare --mount debootstrap --variant=minbase --include=systemd,procps,curl,ca-certificates \
		"$release" "$new.part" >"$new.log"
	echo 'Acquire::Check-Valid-Until "false";' >"$new.part/etc/apt/apt.conf.d/80trial"
	mv "$new.part" "$new"
}

# The packages of others that the trial needs, while there is a network.
fetch_packages() {
	mkdir "$root/packages"
	cp "$releases/$release"/home/tester/millrace/sidecar/build/deb/*.deb "$here/deb_trial.sh" "$root/packages"
	chroot "$root" bash -c 'apt-get update -qq &&
		apt-get install -qq --no-install-recommends --download-only \
		/packages/millrace_*.deb /packages/postgresql-[0-9]*-millrace_*.deb logrotate' >/dev/null
}

# In namespaces of our own.
prepare() {
	mount -t tmpfs tmpfs /mnt
	mkdir /mnt/upper /mnt/work "$root"
	mount -t overlay -o "lowerdir=$new,upperdir=/mnt/upper,workdir=/mnt/work" overlay "$root"
	fetch_packages
	cat >"$root/etc/systemd/system/trial.service" <<-END
		[Service]
		Type=oneshot
		TimeoutStartSec=300
		ExecStart=/bin/bash /packages/deb_trial.sh
		ExecStopPost=/bin/systemctl --no-block --force poweroff
		StandardOutput=file:/packages/output
		StandardError=file:/packages/output
	END
	touch "$root/packages/output"
	exec unshare --pid --fork --kill-child --net --uts --ipc --cgroup "$here/deb.sh" "$release" --boot
}

# As process 1 of the new system.
boot() {
	mount -t proc proc "$root/proc"
	mount -t sysfs -o ro sysfs "$root/sys"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
	mount -t tmpfs -o mode=755 tmpfs "$root/run"
	mount -t tmpfs -o mode=755 tmpfs "$root/dev"
	mkdir "$root/dev/shm" "$root/dev/pts"
	mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	for device in null zero full random urandom tty; do
		touch "$root/dev/$device"
		mount --bind "/dev/$device" "$root/dev/$device"
	done
	exec chroot "$root" env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		/lib/systemd/systemd --unit=trial.service
}

case ${2:-} in
--prepare) prepare ;;
--boot) boot ;;
esac

"$here/postgres.sh" "$release" bash -c 'make deb &&
	apt-get install -y --no-install-recommends lintian >/dev/null &&
	sudo -u tester lintian --fail-on error,warning --info sidecar/build/deb/*.changes'
[ -d "$new" ] || install_release

groups=$(findmnt --noheadings --types cgroup2 --output TARGET | head -n 1) || {
	echo "$0: no cgroup2 is mounted, which systemd needs" >&2
	exit 1
}
mkdir "$groups/millrace-trial.$$"
output=$(mktemp)
trap 'rm -f "$output"; find "$groups/millrace-trial.$$" -depth -type d -exec rmdir {} +' EXIT
# shellcheck disable=SC2016 # for the shell that is started
unshare --mount bash -c 'echo $$ >"$1/cgroup.procs"
	timeout --signal=KILL 400 "${@:3}"
	cat /mnt/root/packages/output >"$2"' bash "$groups/millrace-trial.$$" "$output" \
	"$0" "$release" --prepare || true
cat "$output"
grep -q '^[1-9][0-9]* passed, 0 failed$' "$output"

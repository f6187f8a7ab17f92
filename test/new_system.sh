# shellcheck shell=bash
# For scripts that try something on a new Debian system, as root.  They source this.

releases=${MILLRACE_RELEASES:-/var/cache/millrace} # see postgres.sh
new_root=/mnt/root                                 # where the system is that was entered

# new_system RELEASE: prints the folder of a system with nothing but what every Debian has, which stays as it
# was installed.
new_system() {
	local folder=$releases/$1.minimal
	if [ ! -d "$folder" ]; then
		command -v debootstrap >/dev/null || apt-get install -y --no-install-recommends debootstrap >&2
		echo "Installing Debian $1 into $folder" >&2
		rm -rf --one-file-system "$folder.part"
		mkdir -p "$folder.part"
		# Its mounts end with it, however it ends.
		unshare --mount debootstrap --variant=minbase "$1" "$folder.part" >"$folder.log"
		# A mirror may be behind.
		echo 'Acquire::Check-Valid-Until "false";' >"$folder.part/etc/apt/apt.conf.d/80millrace"
		mv "$folder.part" "$folder"
	fi
	echo "$folder"
}

# enter_new_system FOLDER: makes it $new_root, whose changes are kept in memory.  In namespaces of mounts and
# processes of our own.
enter_new_system() {
	mount -t tmpfs tmpfs /mnt
	mkdir /mnt/upper /mnt/work "$new_root"
	mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" overlay "$new_root"
	mount -t proc proc "$new_root/proc"
	mount --rbind /dev "$new_root/dev"
	mount -t tmpfs -o mode=1777 tmpfs "$new_root/dev/shm"
}

# in_new_system COMMAND: of bash, as root
in_new_system() {
	chroot "$new_root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive bash -euo pipefail -c "$1"
}

#!/bin/bash
# Moves stores from older versions of PostgreSQL to newer ones (upgrade/moves.py): by pg_upgrade as
# sidecar/README.md shows it, and by dump and restore from each version to each newer one.  As root:
#
#   [ARGS="-k swap"] test/upgrade.sh
#
# The versions are those of Debian's releases, all in one: a sid with the older releases' packages beside, and
# experimental's.  It is kept, in $MILLRACE_RELEASES/upgrade.  Started again inside of it (postgres.sh), where
# it works as an ordinary user.
set -euo pipefail
cd "$(dirname "$0")/.."

versions=(15 17 18 19)
export MILLRACE_RELEASES=${MILLRACE_RELEASES:-/var/cache/millrace}/upgrade

if [ "${1:-}" != --inside ]; then
	test/postgres.sh experimental true
	test/message_db/fetch.sh "$MILLRACE_RELEASES/experimental/opt/message-db"
	AS=user exec test/postgres.sh experimental test/upgrade.sh --inside
fi

bin() { echo "/usr/lib/postgresql/$1/bin"; }

# The releases that have the older versions, from the mirror that apt uses already.
add_releases() {
	local mirror release
	# shellcheck disable=SC2016 # for apt
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
	for release in bookworm trixie; do
		echo "deb $mirror $release main"
	done | sudo tee /etc/apt/sources.list.d/older.list >/dev/null
	sudo apt-get update
}

install_versions() {
	local packages=() version
	for version in "${versions[@]}"; do
		[ -d "$(bin "$version")/../lib/pgxs" ] ||
			packages+=("postgresql-$version" "postgresql-server-dev-$version")
	done
	[ ${#packages[@]} -gt 0 ] || return 0
	add_releases
	sudo DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
}

install_ours() {
	local version pg_config
	make --silent -C sidecar
	for version in "${versions[@]}"; do
		pg_config=$(bin "$version")/pg_config
		make --silent -C extension clean all PG_CONFIG="$pg_config"
		sudo make --silent -C extension install PG_CONFIG="$pg_config"
		# For a store that is of this version.
		sudo cp extension/millrace--0.1.0.sql "$("$pg_config" --sharedir)/extension"
	done
}

make deps
install_versions
install_ours
# shellcheck disable=SC2086 # a list of words
PG_CONFIG=$(bin "${versions[-1]}")/pg_config \
	exec /usr/bin/python3 -m pytest -p no:cacheprovider -q test/upgrade/moves.py ${ARGS:-}

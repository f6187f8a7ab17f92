#!/bin/bash
# Moves a data directory from PostgreSQL 15 to 17, by pg_upgrade as sidecar/README.md shows it and by
# dump and restore, on a Debian 13 that still has Debian 12's PostgreSQL.  As root:
#
#   test/upgrade.sh
#
# Started again inside of the release (postgres.sh), where it does the work as an ordinary user.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" != --inside ]; then
	AS=user exec test/postgres.sh trixie test/upgrade.sh --inside
fi

old=/usr/lib/postgresql/15/bin new=/usr/lib/postgresql/17/bin
work=$(mktemp -d)
data=$work/data
server=
trap '[ -z "$server" ] || kill "$server"; wait; rm -rf "$work"' EXIT

install_both() {
	make deps
	if [ ! -x "$old/postgres" ]; then
		sudo tee /etc/apt/sources.list.d/bookworm.list <<<"deb http://deb.debian.org/debian bookworm main" >/dev/null
		sudo apt-get update
		sudo apt-get install -y --no-install-recommends postgresql-15 postgresql-server-dev-15
	fi
	make all install PG_CONFIG=$new/pg_config
	make -C extension clean
	sudo make -C extension all install PG_CONFIG=$old/pg_config
}

# start DIRECTORY BINDIR
start() {
	sidecar/millrace serve --data-dir "$1" --pg-bindir "$2" --port 18543 --admin-listen '' --new-token-file "$work/token" >"$work/log" 2>&1 &
	server=$!
	until grep -q 'listening on' "$work/log"; do
		kill -0 "$server" || { cat "$work/log"; exit 1; }
		sleep 0.1
	done
	head -n 1 "$work/log"
}

stop() {
	kill "$server"
	wait "$server"
	server=
}

rpc() { curl -sS --fail-with-body http://localhost:18543/rpc -H "Authorization: Bearer $(cat "$work/token")" -d "$1" >/dev/null; }
export_all() { curl -sS --fail http://localhost:18543/export -H "Authorization: Bearer $(cat "$work/token")"; }

# Nothing is lost, and the stream goes on.
check() {
	export_all | cmp - "$work/before"
	rpc '["stream.write", "account-1", {"type": "T", "data": {}}, {"expectedVersion": 99}]'
	echo "ok: by $1"
}

install_both
start "$data" "$old"
for n in $(seq 0 99); do
	rpc "[\"stream.write\", \"account-1\", {\"type\": \"T\", \"data\": {\"n\": $n}}]"
done
export_all >"$work/before"
[ "$(wc -l <"$work/before")" = 100 ]
"$new/pg_dump" -h "$data/run" -U postgres -Fc -f "$work/dump" postgres
cp "$work/token" "$work/token.old"
stop

start "$work/restored" "$new"
"$new/pg_restore" -h "$work/restored/run" -U postgres -d postgres --clean --if-exists "$work/dump"
stop
cp "$work/token.old" "$work/token"
start "$work/restored" "$new"
check "dump and restore"
stop

steps=$(sed -n '/^    cd \/var\/lib\/millrace$/,/^$/p' sidecar/README.md)
[ -n "$steps" ]
bash -euc "${steps//\/var\/lib\/millrace/$data}"
start "$data" "$new"
check "pg_upgrade"
stop
echo "2 passed, 0 failed"

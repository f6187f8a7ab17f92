#!/bin/bash
# Starts a durable server of its own, runs bench/load against it, and stops it again.
#
#   bench/bench-load.sh [--test-mode] [flags of bench/load]
#
# Prints a table and, as the last line, the result as JSON; it also stays in load-test-results.json.
# With --test-mode nothing is durable.  SERVE_ARGS='--workers 2' goes to the server.
set -euo pipefail
cd "$(dirname "$0")/.."

# On a real disk: /tmp is memory on some machines.  The embedded Postgres, which never runs as
# root, must reach it.
folder=$(mktemp -d /var/tmp/millrace-bench-XXXXXX)
chmod 755 "$folder"
server=
output=load-test-results.json

# shellcheck disable=SC2317 # the trap calls it
stop_server() {
	if [ -n "$server" ]; then
		kill -TERM "$server" 2>/dev/null || true
		wait "$server" || true
	fi
	rm -rf "$folder"
}
trap stop_server EXIT
trap 'exit 1' INT TERM

token=ns_ZGVmYXVsdA_$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
mode=(--data-dir "$folder/data" --token "$token")
durable=yes
if [ "${1:-}" = --test-mode ]; then
	shift
	mode=(--test-mode)
	durable=no
fi

read -ra extra <<<"${SERVE_ARGS:-}"
sidecar/millrace serve --port 0 "${mode[@]}" "${extra[@]}" >"$folder/log" 2>&1 &
server=$!

url=
while [ -z "$url" ]; do
	if ! kill -0 "$server" 2>/dev/null; then
		cat "$folder/log" >&2
		echo "bench-load: the server did not start" >&2
		exit 1
	fi
	sleep 0.1
	url=$(sed -n 's/.*listening on \(http:\/\/[^ ]*:[0-9]*\).*/\1/p' "$folder/log" | head -1)
done

status=0
bench/load --url "http://127.0.0.1:${url##*:}" --token "$token" --durable "$durable" --output "$output" \
	"$@" || status=$?
[ "$status" = 0 ] || tail -20 "$folder/log" >&2
cat "$output"
exit "$status"

#!/bin/bash
# The tests on a busy machine: `stress-ng --cpu 4` runs beside them.
#
#   test/busy.sh [--parts N] [--whole M] [--cpu 4] [--folder LOGS]
#
# Runs what waits (SQL, isolation, http, cli, browser, sql, crash, stress) N times (5) and then all tests M
# times (2), and goes on when one fails; --cpu 0 beside another one that has brought the load.  Prints a line
# for each run: its number, how long it took, the load average at its end, and the tests' own count; the last
# line counts runs.
set -euo pipefail
cd "$(dirname "$0")/.."

parts=5 whole=2 cpu=4 logs=
while [ $# -gt 0 ]; do
	case $1 in
	--parts) parts=$2 ;;
	--whole) whole=$2 ;;
	--cpu) cpu=$2 ;;
	--folder) logs=$2 ;;
	*)
		echo "$0: what is $1?" >&2
		exit 2
		;;
	esac
	shift 2
done
[ -n "$logs" ] || logs=$(mktemp -d /var/tmp/millrace-busy-XXXXXX)
mkdir -p "$logs"
echo "what the tests print is in $logs"

# Only the modules of the folders named.
modules=$(for folder in http cli browser sql crash stress; do
	for module in test/"$folder"/test_*.py; do basename "$module" .py; done
done | paste -sd '|' | sed 's/|/ or /g')

load=$$
if [ "$cpu" != 0 ]; then
	stress-ng --quiet --cpu "$cpu" &
	load=$!
	trap 'kill "$load"; wait "$load" || true' EXIT
fi

green=0 red=0
# once LABEL COMMAND...: a run
once() {
	local began=$SECONDS log="$logs/${1// /-}" result=failed
	if "${@:2}" >"$log" 2>&1; then
		result=green
		green=$((green + 1))
	else
		red=$((red + 1))
	fi
	kill -0 "$load" || {
		echo "the load has ended" >&2
		exit 1
	}
	printf '%s: %s in %d:%02d min, load average %s; %s\n' "$1" "$result" \
		$(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) \
		"$(cut -d' ' -f1 /proc/loadavg)" "$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | paste -sd ' ')"
}

run_parts() {
	local code=0
	/usr/bin/python3 test/run.py --sql || code=1
	/usr/bin/python3 test/run.py -k "$modules" || code=1
	return $code
}

for ((i = 1; i <= parts; i++)); do once "parts $i" run_parts; done
for ((i = 1; i <= whole; i++)); do once "whole $i" make --no-print-directory test ARGS=; done
echo "$green green, $red failed"
[ $red = 0 ]

#!/bin/bash
# fuzz.sh check|run SEED RUNS TARGET...: runs fuzzers one after the other; a line for each, and one that sums
# up.
#
# `run` starts from what earlier runs learned, too; a seed of 0 is another one each time.
set -uo pipefail
cd "$(dirname "$0")" || exit 1

mode=$1
seed=$2
runs=$3
shift 3
total=0
failed=0

# Those that feed their input byte by byte take a time that grows with its square.
max_len() {
	case $1 in
	http_head | import_lines) echo 500 ;;
	*) echo 3000 ;;
	esac
}

for target in "$@"; do
	log=build/$target.log
	learned=build/corpus/$target
	[ "$mode" = run ] || learned=$(mktemp -d)
	mkdir -p "$learned"
	options=(-seed="$seed" -runs="$runs" -max_len="$(max_len "$target")" -timeout=20
		-rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="build/crash-$target-")
	[ ! -f "$target.dict" ] || options+=(-dict="$target.dict")
	"build/fuzz_$target" "${options[@]}" "$learned" "corpus/$target" >"$log" 2>&1
	code=$?
	done=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	total=$((total + ${done:-0}))
	if [ "$code" = 0 ]; then
		echo "fuzz $target: ok, ${done:-0} executions"
	else
		failed=$((failed + 1))
		tail -n 40 "$log"
		echo "fuzz $target: FAILED, see test/fuzz/$log"
	fi
	[ "$mode" = run ] || rm -rf "$learned"
done
echo "fuzzing: $# targets, $total executions, $failed failed"
[ "$failed" = 0 ]

#!/bin/bash
# analyse.sh: cppcheck and clang-tidy over every C file; exits 1 when one of them finds something.  analyse.sh
# --cppcheck is its quick half, seconds, a part of `make test`; --tidy FILE is the other half for one file.
#
# What .clang-tidy and cppcheck.txt leave out they give a reason for.  What the server's and the libraries'
# headers declare is read, and nothing is said about it.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# Extension and program have files of the same names, and so each is looked at with its own.
run_cppcheck() {
	cppcheck_of -Iextension extension && cppcheck_of -I. -Isidecar sidecar bench test/unit test/fuzz
}

cppcheck_of() {
	cppcheck --quiet --std=c11 --enable=warning,style,performance,portability --error-exitcode=1 \
		-j "$(nproc)" -D_GNU_SOURCE -DPG_VERSION_NUM=150000 --suppressions-list=test/cppcheck.txt "$@"
}

# One file a run: from its second file on, version 14 takes every va_list for uninitialized.
run_tidy() {
	local options=(-D_GNU_SOURCE -std=gnu11 "-isystem$("${PG_CONFIG:-pg_config}" --includedir)") word
	for word in $(pkg-config --cflags libevent json-c libcrypto zlib cmocka); do
		options+=("${word/#-I/-isystem}")
	done
	case $1 in
	extension/*) options+=(-Iextension -fwrapv "-isystem$("${PG_CONFIG:-pg_config}" --includedir-server)") ;;
	*) options+=(-I. -Isidecar '-DMILLRACE_PG_BINDIR=""' '-DMILLRACE_PRELOAD="/dev/null"') ;;
	esac
	"$(command -v clang-tidy-14 || echo clang-tidy)" --quiet "$1" -- "${options[@]}" \
		2> >(grep -v ' warnings\? generated\.$' >&2)
}

case ${1:-} in
--cppcheck) run_cppcheck ;;
--tidy) run_tidy "$2" ;;
*)
	run_cppcheck || failed=1
	printf '%s\n' {extension,extension/*,sidecar,sidecar/*,bench,test/unit,test/fuzz}/*.c |
		xargs -P "$(nproc)" -n 1 test/analyse.sh --tidy || failed=1
	exit "${failed:-0}"
	;;
esac

#!/bin/bash
# A compiler's warning ends our builds and no user's: by default no part that users build is compiled with
# -Werror, with WERROR=1 each is.
set -euo pipefail
cd "$(dirname "$0")/.."
unset WERROR MAKEFLAGS MAKELEVEL MFLAGS

for part in sidecar extension bench; do
	commands=$(make -nB -C "$part")
	if grep -qE -e '-Werror( |$)' <<<"$commands"; then
		echo "$part: a warning would end a user's build"
		exit 1
	fi
	commands=$(make -nB -C "$part" WERROR=1)
	grep -qE -e '-Werror( |$)' <<<"$commands" || {
		echo "$part: WERROR=1 is not heeded"
		exit 1
	}
done

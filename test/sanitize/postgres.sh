#!/bin/bash
# postgres.sh FOLDER: builds the Postgres that `make test SAN=1` runs on into FOLDER, when it is not there as
# it would be built.
#
# It is of the release that pg_config names, from the distribution's source; PG_SOURCE=FOLDER names an
# unpacked release instead.  It has
#
# - assertions, and what a transaction leaves open at its end (a pinned buffer, a relation, a snapshot) is one
#   that fails;
# - the address sanitizer, and memory contexts and a buffer manager that tell it which bytes are not in use
#   (valgrind/memcheck.h): a byte behind what palloc() gave, freed memory, a page that is not pinned;
# - RELCACHE_FORCE_RELEASE: what the relation cache hands out is freed as soon as nothing holds it.
#
# Each of them ends the server process, with a report where ASAN_OPTIONS=log_path says.
set -euo pipefail
# Postgres makes its generated headers only in a make that no other one called.
unset MAKELEVEL MAKEFLAGS MFLAGS

folder=$1
here=$(cd "$(dirname "$0")" && pwd)
major=$("${PG_CONFIG:-pg_config}" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
recipe="$major $(cat "$here/postgres.sh" "$here/valgrind/memcheck.h" | sha256sum)"
[ "$recipe" != "$(cat "$folder/recipe" 2>/dev/null)" ] || exit 0
work=$(mktemp -d /var/tmp/millrace-sanitize-XXXXXX)
trap 'rm -rf "$work"' EXIT

# Fetches the release's source as apt-get does, by lists of sources of our own: the machine's need not name
# any.
fetch() {
	local file version
	mkdir -p "$work/parts" "$work/lists/partial" "$work/cache/archives/partial"
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
		if [ -f "$file" ] && grep -qE 'debian|ubuntu|postgresql' "$file"; then
			sed -E 's/^deb /deb-src /; s/^Types:.*/Types: deb-src/' "$file" >"$work/parts/$(basename "$file")"
		fi
	done
	(
		cd "$work"
		export APT_CONFIG=$work/apt.conf
		cat >"$APT_CONFIG" <<-END
			Dir::Etc::SourceList "/dev/null";
			Dir::Etc::SourceParts "$work/parts";
			Dir::State::Lists "$work/lists";
			Dir::Cache "$work/cache";
			APT::Sandbox::User "root";
		END
		apt-get -qq update
		# The newest first.
		for version in $(apt-cache madison "postgresql-$major" | awk -F '|' '/Sources$/ { print $2 }'); do
			! apt-get -qq --download-only source "postgresql-$major=$version" || break # a mirror may lack it
		done
		tar -xf postgresql-*.orig.tar.*
	)
	PG_SOURCE=$(echo "$work"/postgresql-*/)
}

# Makes what would be a warning at the end of a transaction an assertion, and an assertion a trap, of which
# the sanitizer writes a report.
edit() {
	local owner=src/backend/utils/resowner/resowner.c
	sed -Ei -e 's/^(\s+)(Print\w+LeakWarning)\(\w+\);/\1Assert(!"\2");/' \
		-e 's/^(\s+)elog\(WARNING, "resource was not closed/\1Assert(!"LeakWarning");\n&/' "$owner" # since 17
	grep -q 'Assert(!".*LeakWarning")' "$owner"
	sed -i 's/^\tabort();/\t__builtin_trap();/' src/backend/utils/error/assert.c
	grep -q __builtin_trap src/backend/utils/error/assert.c
}

echo "== building a Postgres $major for the sanitizers in $folder"
[ -n "${PG_SOURCE:-}" ] || fetch
cp -a "$PG_SOURCE" "$work/source"
cd "$work/source"
[ ! -f GNUmakefile ] || make -s distclean
edit

rm -rf "$folder"
mkdir -p "$folder"
cp -a "$here/valgrind" "$folder"
# Leaks: a server process frees nothing before it ends.  Stack: check_stack_depth() measures the real one.
cat >"$folder/options.c" <<'END'
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0:detect_stack_use_after_return=0:handle_sigill=1";
}
END
gcc -c -o "$folder/options.o" "$folder/options.c"
export ASAN_OPTIONS=detect_leaks=0 # of the programs that run while others are built
./configure --quiet --prefix="$folder" --enable-cassert --enable-debug --with-openssl --without-icu \
	--without-readline CPPFLAGS="-I$folder -DUSE_VALGRIND -DRELCACHE_FORCE_RELEASE" \
	CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address -Wno-unused-value -Wno-unused-function" \
	LDFLAGS_EX="$folder/options.o"
make --silent -j "$(nproc)"
for part in . src/test/regress src/test/isolation contrib/{amcheck,pageinspect,pgcrypto,test_decoding}; do
	make --silent -j "$(nproc)" -C "$part" install
done
echo "$recipe" >"$folder/recipe"

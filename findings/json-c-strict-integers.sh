#!/bin/bash
# json-c 0.19 (Debian unstable: libjson-c5 0.19+ds-1) read with JSON_TOKENER_STRICT refuses integers that 64
# bits don't hold.
#
# First guess: [18446744073709551616] is read as in 0.16, as the next number that 64 bits hold: it is JSON,
#   RFC 8259 leaves numbers of any size to the reader, and JSON_TOKENER_STRICT is for what deviates from that.
# Behaviour: 0.16 takes it strictly and otherwise, as the greatest unsigned number; 0.19 so only without
#   JSON_TOKENER_STRICT, with it "number expected".  So too below the least signed number.  Written with a
#   fraction or an exponent it is a double, and taken.
# Output seen:
#   json-c 0.16
#   strict [18446744073709551615]: [ 18446744073709551615 ]
#   strict [18446744073709551616]: [ 18446744073709551615 ]
#   strict [-9223372036854775809]: [ -9223372036854775808 ]
#   strict [18446744073709551616.0]: [ 18446744073709551616.0 ]
#   default [18446744073709551616]: [ 18446744073709551615 ]
#   json-c 0.19
#   strict [18446744073709551615]: [ 18446744073709551615 ]
#   strict [18446744073709551616]: number expected
#   strict [-9223372036854775809]: number expected
#   strict [18446744073709551616.0]: [ 18446744073709551616.0 ]
#   default [18446744073709551616]: [ 18446744073709551615 ]
# Consequence: a test that compares with json-c's strict reader has no such integers, or asks first whether
#   that one takes them.
#
# Debian's packages are fetched into a temporary folder by this machine's apt; needs gcc and Debian's archive
# keys.  Exit code 1: it is no longer so.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# shellcheck disable=SC2016 # apt's own variable
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)

# fetch SUITE PACKAGES...: into a folder of that name
fetch() {
	local folder=$work/$1 suite=$1 apt package
	shift
	mkdir -p "$folder"/{lists/partial,cache/archives/partial}
	cd "$folder"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site%/} $suite main" >sources.list
	touch status
	apt=(timeout 300 apt-get -q -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache"
		-o "Dir::State::status=$folder/status" -o "Dir::Etc::sourcelist=$folder/sources.list"
		-o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root)
	{ "${apt[@]}" update && "${apt[@]}" download "$@"; } >log 2>&1 || {
		tail -n 5 log
		exit 2
	}
	for package in *.deb; do
		dpkg -x "$package" root
	done
	cd "$work"
}

fetch bookworm libjson-c5=0.16-2 libjson-c-dev=0.16-2 libc6
fetch sid libjson-c5=0.19+ds-1 libc6

cat >try.c <<'END'
#include <json.h>
#include <stdio.h>
#include <string.h>

static void try(const char *name, int flags, const char *text)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *value;

	json_tokener_set_flags(tokener, flags);
	value = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
	printf("%s %s: %s\n", name, text,
		value ? json_object_to_json_string(value) : json_tokener_error_desc(json_tokener_get_error(tokener)));
	json_object_put(value);
	json_tokener_free(tokener);
}

int main(void)
{
	printf("json-c %s\n", json_c_version());
	try("strict", JSON_TOKENER_STRICT, "[18446744073709551615]");
	try("strict", JSON_TOKENER_STRICT, "[18446744073709551616]");
	try("strict", JSON_TOKENER_STRICT, "[-9223372036854775809]");
	try("strict", JSON_TOKENER_STRICT, "[18446744073709551616.0]");
	try("default", 0, "[18446744073709551616]");
	return 0;
}
END
library() { dirname "$(find "$work/$1/root" -name "$2")"; }
gcc -Ibookworm/root/usr/include/json-c -o try try.c "$(library bookworm libjson-c.so.5)/libjson-c.so.5" \
	-Wl,--allow-shlib-undefined
for suite in bookworm sid; do
	# By the C library that the package was made for.
	timeout 60 "$(find "$work/$suite/root" -name 'ld-linux-*.so.*' -o -name 'ld-linux.so.*' | head -n 1)" \
		--library-path "$(library $suite libjson-c.so.5):$(library $suite libc.so.6)" ./try
done | tee seen
diff <(sed -n '/^# Output seen:/,/^# Consequence/s/^#   //p' "$here") seen

#!/bin/bash
# json-c 0.18 (Debian 13: libjson-c5 0.18+ds-1) read with JSON_TOKENER_STRICT refuses every string value that
# is not ASCII.
#
# First guess: a strict reader takes ["é"], as it does in 0.16 and 0.19: RFC 8259 allows it, and
#   JSON_TOKENER_STRICT is documented as refusing deviations from it only.
# Behaviour: 0.18 says "invalid string sequence" for any value with a byte above 0x7F; with
#   JSON_TOKENER_VALIDATE_UTF8 beside it "invalid utf-8 string".  The keys of objects may have them, and so
#   may all strings without JSON_TOKENER_STRICT.  Where char is signed, such a byte is less than 0x20, and
#   strictness forbids control characters since 0.18.
# Output seen:
#   json-c 0.18
#   default ["é"]: taken
#   strict ["e"]: taken
#   strict ["é"]: invalid string sequence
#   strict {"é":1}: taken
#   strict, validate ["é"]: invalid utf-8 string
# Consequence: a test that compares with json-c's strict reader asks first whether that one takes "é".
#
# Debian 13's packages are fetched into a temporary folder by this machine's apt; needs gcc and Debian's
# archive keys.  Exit code 1: it is no longer so.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial
# shellcheck disable=SC2016 # apt's own variable
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site%/} trixie main" >sources.list
touch status
apt=(timeout 300 apt-get -q -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
	-o "Dir::State::status=$work/status" -o "Dir::Etc::sourcelist=$work/sources.list"
	-o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root)
{
	"${apt[@]}" update &&
		"${apt[@]}" download libjson-c5=0.18+ds-1 libjson-c-dev=0.18+ds-1 libc6
} >log 2>&1 || {
	tail -n 5 log
	exit 2
}
for package in *.deb; do
	dpkg -x "$package" root
done

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
		value ? "taken" : json_tokener_error_desc(json_tokener_get_error(tokener)));
	json_object_put(value);
	json_tokener_free(tokener);
}

int main(void)
{
	printf("json-c %s\n", json_c_version());
	try("default", 0, "[\"é\"]");
	try("strict", JSON_TOKENER_STRICT, "[\"e\"]");
	try("strict", JSON_TOKENER_STRICT, "[\"é\"]");
	try("strict", JSON_TOKENER_STRICT, "{\"é\":1}");
	try("strict, validate", JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8, "[\"é\"]");
	return 0;
}
END
lib=$(dirname "$(find root -name 'libjson-c.so.5')")
gcc -Iroot/usr/include/json-c -o try try.c "$lib/libjson-c.so.5" -Wl,--allow-shlib-undefined
# By the C library that the package was made for.
timeout 60 "$(find "$PWD/root" -name 'ld-linux-*.so.*' -o -name 'ld-linux.so.*' | head -n 1)" \
	--library-path "$PWD/$lib" ./try | tee seen
diff <(sed -n '/^# Output seen:/,/^# Consequence/s/^#   //p' "$here") seen

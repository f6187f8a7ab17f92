/*
 * fuzz_uuid.c: UUIDs are read exactly when a regular expression says so, and are written as they were read.
 */
#include <strings.h>

#include "pattern.h"
#include "base/uuid.h"

static bool looks_like_one(struct slice text)
{
	static struct pattern pattern;

	return pattern_matches(&pattern, "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", text, NULL, 0);
}

static void check(struct slice text)
{
	char formatted[UUID_TEXT_LEN + 1];
	struct uuid uuid, again;
	bool ok = uuid_parse(text, &uuid);

	require(ok == looks_like_one(text));
	if (!ok)
		return;
	uuid_format(&uuid, formatted);
	require(strlen(formatted) == UUID_TEXT_LEN && strncasecmp(formatted, text.bytes, UUID_TEXT_LEN) == 0);
	for (const char *p = formatted; *p != '\0'; p++)
		require(*p < 'A' || *p > 'F');
	require(uuid_parse(slice_of(formatted), &again) && memcmp(&uuid, &again, sizeof(uuid)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char formatted[UUID_TEXT_LEN + 1];
	struct uuid uuid, again;

	check(fuzz_slice(data, size));
	if (size < sizeof(uuid.bytes))
		return 0;
	memcpy(uuid.bytes, data, sizeof(uuid.bytes));
	uuid_format(&uuid, formatted);
	require(looks_like_one(slice_of(formatted)));
	require(uuid_parse(slice_of(formatted), &again) && memcmp(&uuid, &again, sizeof(uuid)) == 0);
	return 0;
}

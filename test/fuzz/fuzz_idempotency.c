/*
 * fuzz_idempotency.c: keys are read exactly when regular expressions say so, and quoting one makes no other.
 */
#include "base/idempotency.h"
#include "pattern.h"

static bool looks_like_one(struct slice text)
{
	static struct pattern bare, quoted;

	return pattern_matches(&bare, "^[ !#-~][ -~]{0,254}$", text, NULL, 0) ||
		   pattern_matches(&quoted, "^\"([ !#-[]|[]-~]|\\\\[\"\\\\]){1,255}\"$", text, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = fuzz_slice(data, size);
	char key[IDEMPOTENCY_MAX_KEY], again[IDEMPOTENCY_MAX_KEY];
	char quoted[2 * IDEMPOTENCY_MAX_KEY + 2];
	size_t len = idempotency_read(text, key);
	size_t n = 0;
	struct uuid request, id;

	require((len > 0) == looks_like_one(text));
	if (len == 0)
		return 0;
	quoted[n++] = '"';
	for (size_t i = 0; i < len; i++)
	{
		if (key[i] == '"' || key[i] == '\\')
			quoted[n++] = '\\';
		quoted[n++] = key[i];
	}
	quoted[n++] = '"';
	require(idempotency_read((struct slice){quoted, n}, again) == len && memcmp(key, again, len) == 0);
	require(idempotency_request("default", (struct slice){key, len}, &request));
	require(idempotency_message(&request, (unsigned)size, 0, &id) && id.bytes[6] >> 4 == 5 &&
			id.bytes[8] >> 6 == 2);
	return 0;
}

/*
 * fuzz_trace.c: a traceparent is read exactly when regular expressions say so.
 */
#include "base/trace.h"
#include "pattern.h"

static bool looks_like_one(struct slice text)
{
	static struct pattern form, invalid, later;

	return pattern_matches(&form, "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$", text, NULL,
						   0) &&
		   !pattern_matches(&invalid, "^(ff-|..-0{32}-|..-.{32}-0{16}-)", text, NULL, 0) &&
		   !pattern_matches(&later, "^00-.{52}.", text, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = fuzz_slice(data, size);
	struct trace trace = trace_read(text);

	/* The pattern's dot does not match all bytes, nor does it see those behind a NUL. */
	for (size_t i = TRACE_PARENT_LEN; i < size; i++)
	{
		if (text.bytes[i] < ' ' || text.bytes[i] > '~')
			return 0;
	}
	require((trace.parent.bytes != NULL) == looks_like_one(text));
	if (trace.parent.bytes == NULL)
		return 0;
	require(trace.parent.bytes == text.bytes && trace.parent.len == TRACE_PARENT_LEN);
	require(trace.id.bytes == text.bytes + 3 && trace.id.len == 32);
	return 0;
}

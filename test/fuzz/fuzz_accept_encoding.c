/*
 * fuzz_accept_encoding.c: who takes gzip, told from the header's elements by regular expressions.
 */
#include "http/coding.h"
#include "pattern.h"

#define WEIGHT "[ \t]*;[ \t]*[qQ][ \t]*=[ \t]*"
#define SOME "(0\\.[0-9]*[1-9][0-9]*|1(\\.0*)?)"

/* 1: it takes gzip, 0: it does not, -1: it says nothing of it. */
static int judge(struct slice element, bool *any)
{
	static struct pattern gzip, star, weight, plain;
	bool weighs;

	/* Parameters other than weights are left to the tests. */
	if (pattern_matches(&plain, "^[^;]*$", element, NULL, 0))
		weighs = true;
	else
		weighs = pattern_matches(&weight, "^[^;]*" WEIGHT SOME "[ \t]*$", element, NULL, 0);
	if (pattern_matches(&gzip, "^[ \t]*([xX]-)?[gG][zZ][iI][pP][ \t]*(;.*)?$", element, NULL, 0))
		return weighs;
	if (pattern_matches(&star, "^[ \t]*[*][ \t]*(;.*)?$", element, NULL, 0))
		*any = weighs;
	return -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pattern known;
	struct slice text = fuzz_slice(data, size);
	bool found = coding_accepts_gzip(text);
	bool any = false;
	int verdict = -1;

	for (size_t i = 0, at = 0; i <= size; i++)
	{
		struct slice element = {text.bytes + at, i - at};

		if (i < size && text.bytes[i] != ',')
			continue;
		at = i + 1;
		if (!pattern_matches(&known, "^[][*a-zA-Z0-9 \t.=_-]*(" WEIGHT "[-a-z0-9. \t]*)?$", element, NULL, 0))
			return 0;
		if (verdict < 0)
			verdict = judge(element, &any);
	}
	require(found == (verdict >= 0 ? verdict == 1 : any));
	return 0;
}

/*
 * spelling.c: compares names (see spelling.h).
 */
#include "base/spelling.h"

#include <stddef.h>

#define MAX_KEY 40 /* bytes; all of ours are shorter */

/*
 * Copies the name in lower case and without `_` and `-`.  Returns its length, more than MAX_KEY when it does
 * not fit.
 */
static size_t simplify(struct slice name, char out[MAX_KEY + 1])
{
	size_t len = 0;

	for (size_t i = 0; i < name.len && len <= MAX_KEY; i++)
	{
		char c = name.bytes[i];

		if (c != '_' && c != '-')
			out[len++] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
	}
	return len;
}

bool spelling_is_near(struct slice given, const char *known)
{
	char as[MAX_KEY + 1], bs[MAX_KEY + 1];
	const char *a = as;
	const char *b = bs;
	size_t alen = simplify(given, as);
	size_t blen = simplify(slice_of(known), bs);

	if (alen > MAX_KEY || blen > MAX_KEY)
		return false;
	for (; alen > 0 && blen > 0 && *a == *b; alen--, blen--)
	{
		a++;
		b++;
	}
	while (alen > 0 && blen > 0 && a[alen - 1] == b[blen - 1])
	{
		alen--;
		blen--;
	}
	/* What is left is what differs. */
	if (alen <= 1 && blen <= 1)
		return true;
	return alen == 2 && blen == 2 && a[0] == b[1] && a[1] == b[0];
}

const char *spelling_nearest(struct slice given, const char *const known[])
{
	const char *near = NULL;

	for (; *known != NULL; known++)
	{
		if (slice_is(given, *known))
			return NULL;
		if (near == NULL && spelling_is_near(given, *known))
			near = *known;
	}
	return near;
}

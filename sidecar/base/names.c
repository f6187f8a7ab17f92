/*
 * names.c: what a stream's name says (see names.h).
 */
#include "base/names.h"

struct slice name_category(struct slice stream)
{
	const char *dash = memchr(stream.bytes, '-', stream.len);

	if (dash != NULL)
		stream.len = (size_t)(dash - stream.bytes);
	return stream;
}

/*
 * id.c: see id.h.
 */
#include "http/id.h"

#include <sys/random.h>

#include "extension/hex.h"

static bool is_sane(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
		   c == '-' || c == '_';
}

bool http_id_is_sane(struct slice id)
{
	if (id.len == 0 || id.len > HTTP_ID_MAX)
		return false;
	for (size_t i = 0; i < id.len; i++)
	{
		if (!is_sane(id.bytes[i]))
			return false;
	}
	return true;
}

void http_id_make(char id[HTTP_ID_LEN + 1])
{
	unsigned char bytes[HTTP_ID_LEN / 2] = {0};

	/* So few bytes come whole, or, before the kernel has any, not at all. */
	if (getrandom(bytes, sizeof(bytes), 0) < 0)
		bytes[0] = 0;
	hex_write(id, bytes, sizeof(bytes));
}

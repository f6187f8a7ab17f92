/*
 * json_copy.h: the scanner on a copy of its text.
 */
#ifndef TEST_JSON_COPY_H
#define TEST_JSON_COPY_H

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

/* Checks an exact copy, so that a sanitizer sees reads behind the end. */
static inline bool check(const char *text, size_t len, struct json_verdict *verdict)
{
	char *copy = malloc(len > 0 ? len : 1);
	bool ok;

	memcpy(copy, text, len);
	ok = json_check((struct slice){copy, len}, verdict);
	free(copy);
	return ok;
}

#endif

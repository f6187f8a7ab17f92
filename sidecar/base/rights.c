/*
 * rights.c: the names of rights (see rights.h), which the extension stores.
 */
#include "base/rights.h"

#include <stddef.h>
#include <string.h>

#include "base/errors.h"

/* None is a part of another. */
static const struct
{
	enum right right;
	const char *name;
} names[] = {
	{RIGHT_READ, "read"},
	{RIGHT_APPEND, "append"},
	{RIGHT_REMOVE, "remove"},
	{RIGHT_ADMINISTER, "administer"},
};

#define N_NAMES (sizeof(names) / sizeof(names[0]))

const char *right_name(enum right right)
{
	for (size_t i = 0; i < N_NAMES; i++)
	{
		if (names[i].right == right)
			return names[i].name;
	}
	return "";
}

void right_missing(struct error *error, const char *what, enum right right)
{
	struct buf details = {0};

	error_set(error, ERROR_AUTH_UNAUTHORIZED, "%s needs the right to %s, which this token does not have",
			  what, right_name(right));
	buf_printf(&details, "{\"right\":\"%s\"}", right_name(right));
	error_set_details(error, &details);
	buf_free(&details);
}

unsigned rights_read(const char *text)
{
	unsigned rights = RIGHT_NONE;

	for (size_t i = 0; i < N_NAMES; i++)
	{
		if (strstr(text, names[i].name) != NULL)
			rights |= names[i].right;
	}
	return rights;
}

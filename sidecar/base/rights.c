/*
 * rights.c: the names of rights (see rights.h), which the extension stores.
 */
#include "base/rights.h"

#include <stddef.h>
#include <string.h>

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

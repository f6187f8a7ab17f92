/*
 * pattern: regular expressions of libc on bytes that may hold anything.
 */
#ifndef MILLRACE_PATTERN_H
#define MILLRACE_PATTERN_H

#include <regex.h>

#include "fuzz.h"

/* Compiled when first used; all zero before. */
struct pattern
{
	regex_t regex;
	bool compiled;
};

/* Bytes behind a NUL are not seen, so text with one matches nothing. */
static inline bool pattern_matches(struct pattern *pattern, const char *expression, struct slice text,
								   regmatch_t *groups, size_t ngroups)
{
	char *copy;
	bool ok;

	if (text.len > 0 && memchr(text.bytes, '\0', text.len) != NULL)
		return false;
	if (!pattern->compiled)
		require(regcomp(&pattern->regex, expression, REG_EXTENDED) == 0);
	pattern->compiled = true;
	copy = strndup(text.len > 0 ? text.bytes : "", text.len);
	ok = regexec(&pattern->regex, copy, ngroups, groups, 0) == 0;
	free(copy);
	return ok;
}

#endif

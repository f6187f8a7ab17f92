/*
 * coding.c: reads Accept-Encoding (see coding.h).
 */
#include "http/coding.h"

#include <strings.h>

static struct slice trim(struct slice text)
{
	while (text.len > 0 && (text.bytes[0] == ' ' || text.bytes[0] == '\t'))
	{
		text.bytes++;
		text.len--;
	}
	while (text.len > 0 && (text.bytes[text.len - 1] == ' ' || text.bytes[text.len - 1] == '\t'))
		text.len--;
	return text;
}

/* Cuts off what is before the next `separator`, without the blanks around it. */
static struct slice cut(struct slice *rest, char separator)
{
	const char *end = memchr(rest->bytes, separator, rest->len);
	size_t len = end != NULL ? (size_t)(end - rest->bytes) : rest->len;
	struct slice first = {rest->bytes, len};

	rest->bytes += len + (end != NULL);
	rest->len -= len + (end != NULL);
	return trim(first);
}

static bool is_named(struct slice text, const char *name)
{
	return text.len == strlen(name) && strncasecmp(text.bytes, name, text.len) == 0;
}

/* "q=0.5": whether it is a weight above zero. */
static bool has_weight(struct slice parameter)
{
	struct slice weight = parameter;
	bool any;

	if (!is_named(cut(&weight, '='), "q"))
		return true; /* it says something else */
	weight = trim(weight);
	if (weight.len == 0 || (weight.bytes[0] != '0' && weight.bytes[0] != '1'))
		return false;
	any = weight.bytes[0] == '1';
	for (size_t i = 1; i < weight.len; i++)
	{
		char c = weight.bytes[i];

		if (i == 1 ? c != '.' : c < '0' || c > (weight.bytes[0] == '1' ? '0' : '9'))
			return false;
		any = any || c > '0';
	}
	return any;
}

bool coding_accepts_gzip(struct slice accepted)
{
	bool any = false;

	while (accepted.len > 0)
	{
		struct slice rest = cut(&accepted, ',');
		struct slice name = rest.len > 0 ? cut(&rest, ';') : rest;
		bool weighs = true;

		while (rest.len > 0)
			weighs = has_weight(cut(&rest, ';')) && weighs;
		if (is_named(name, "gzip") || is_named(name, "x-gzip"))
			return weighs;
		if (is_named(name, "*"))
			any = weighs;
	}
	return any;
}

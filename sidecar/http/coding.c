/*
 * coding.c: reads Accept-Encoding (see coding.h).
 */
#include "http/coding.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

bool coding_accepts_gzip(struct slice header)
{
	const char *p = header.bytes;
	const char *end = header.bytes + header.len;

	while (p < end)
	{
		const char *comma = memchr(p, ',', (size_t)(end - p));
		char coding[64];
		size_t len = (size_t)((comma != NULL ? comma : end) - p);
		double weight = 1;
		char *parameter;

		snprintf(coding, sizeof(coding), "%.*s", (int)(len < sizeof(coding) ? len : 0), p);
		parameter = strchr(coding, ';');
		if (parameter != NULL && sscanf(parameter, "; q = %lf", &weight) == 1)
			*parameter = '\0';
		if (strcasecmp(coding + strspn(coding, " \t"), "gzip") == 0 && weight > 0)
			return true;
		p += len + (comma != NULL);
	}
	return false;
}

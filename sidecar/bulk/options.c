/*
 * options.c: reads parameters and headers (see options.h).
 */
#include "bulk/options.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/url_query.h"
#include "http/http.h"

/* Reads a parameter that is true or false, which it is when it is not there; false: it is neither. */
static bool read_switch(struct http_request *request, const char *name, bool *on)
{
	struct buf value = {0};
	struct slice word;
	bool known;

	*on = false;
	url_query_find(http_query(request), name, &value);
	word = (struct slice){value.data, value.len};
	*on = word.len > 0 && (slice_is(word, "true") || slice_is(word, "1"));
	known = *on || word.len == 0 || slice_is(word, "false") || slice_is(word, "0");
	buf_free(&value);
	return known && !value.failed;
}

/* Reads Content-Encoding; false: it is one that is not understood. */
static bool read_encoding(struct http_request *request, bool *gzip)
{
	struct slice coding = http_header(request, "Content-Encoding");

	*gzip = (coding.len == 4 && strncasecmp(coding.bytes, "gzip", 4) == 0) ||
			(coding.len == 6 && strncasecmp(coding.bytes, "x-gzip", 6) == 0);
	return *gzip || coding.len == 0 || (coding.len == 8 && strncasecmp(coding.bytes, "identity", 8) == 0);
}

int import_options_read(struct import_options *options, struct http_request *request, char problem[200])
{
	static const char *const known[] = {"force", "progress", NULL};

	if (!url_query_check_names(http_query(request), known, problem))
		return 400;
	if (!read_switch(request, "force", &options->force))
	{
		snprintf(problem, 200, "force must be true or false");
		return 400;
	}
	if (!read_switch(request, "progress", &options->progress))
	{
		snprintf(problem, 200, "progress must be true or false");
		return 400;
	}
	if (!read_encoding(request, &options->gzip))
	{
		snprintf(problem, 200, "the only Content-Encoding understood is gzip");
		return 415;
	}
	return 0;
}

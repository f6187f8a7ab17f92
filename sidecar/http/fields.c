/*
 * fields.c: what handlers ask of a request: method, path, headers, the collected body, and their own context.
 */
#include <string.h>
#include <strings.h>

#include "http/coding.h"
#include "http/internal.h"

static struct slice resolve(const struct http_request *request, struct http_span span)
{
	const struct input *in = &request->connection->in;

	if (span.len == 0)
		return slice_of(""); /* there may be no input yet */
	return (struct slice){in->data + in->start + span.at, span.len};
}

struct slice http_method(const struct http_request *request)
{
	return resolve(request, request->head.method);
}

/* The target without scheme and authority, which a client may send (RFC 9112, 3.2.2). */
static struct slice origin_form(const struct http_request *request)
{
	struct slice target = resolve(request, request->head.target);
	size_t at = 7;

	if (target.len >= 8 && strncasecmp(target.bytes, "https://", 8) == 0)
		at = 8;
	else if (target.len < 7 || strncasecmp(target.bytes, "http://", 7) != 0)
		return target;
	while (at < target.len && target.bytes[at] != '/' && target.bytes[at] != '?')
		at++;
	return (struct slice){target.bytes + at, target.len - at};
}

struct slice http_path(const struct http_request *request)
{
	struct slice target = origin_form(request);
	const char *mark = memchr(target.bytes, '?', target.len);

	if (mark != NULL)
		target.len = (size_t)(mark - target.bytes);
	return target.len == 0 && request->head.target.len > 0 ? slice_of("/") : target;
}

struct slice http_query(const struct http_request *request)
{
	struct slice target = origin_form(request);
	const char *mark = memchr(target.bytes, '?', target.len);

	if (mark == NULL)
		return (struct slice){target.bytes + target.len, 0};
	return (struct slice){mark + 1, target.len - (size_t)(mark + 1 - target.bytes)};
}

/* The next of the headers from *at on that has the name; .bytes NULL: there is none. */
static struct slice next_header(const struct http_request *request, const char *name, unsigned *at)
{
	size_t len = strlen(name);

	while (*at < request->head.nheaders)
	{
		unsigned i = (*at)++;

		if (request->head.headers[i].name.len == len &&
			strncasecmp(resolve(request, request->head.headers[i].name).bytes, name, len) == 0)
			return resolve(request, request->head.headers[i].value);
	}
	return (struct slice){NULL, 0};
}

struct slice http_header(const struct http_request *request, const char *name)
{
	unsigned at = 0;

	return next_header(request, name, &at);
}

bool http_header_once(const struct http_request *request, const char *name, struct slice *value)
{
	unsigned at = 0;
	struct slice other;

	*value = next_header(request, name, &at);
	while ((other = next_header(request, name, &at)).bytes != NULL)
	{
		if (other.len != value->len || memcmp(other.bytes, value->bytes, other.len) != 0)
			return false;
	}
	return true;
}

bool http_accepts_gzip(const struct http_request *request)
{
	return coding_accepts_gzip(http_header(request, "Accept-Encoding"));
}

void http_set_context(struct http_request *request, void *context)
{
	request->context = context;
}

void *http_context(const struct http_request *request)
{
	return request->context;
}

struct slice http_body(const struct http_request *request)
{
	const struct input *in = &request->connection->in;

	return (struct slice){in->data + in->start + request->head_len, request->body_len};
}

/*
 * admin_reply: the form of replies; see internal.h.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/internal.h"

#define MAX_LINE 600

void admin_reply(struct http_request *request, const char *content_type, struct buf *bytes)
{
	const struct http_reply reply = {.status = 200, .content_type = content_type};
	struct piece piece = {.bytes = bytes->data, .len = bytes->len, .release = free, .owner = bytes->data};

	if (bytes->failed)
	{
		buf_free(bytes);
		admin_refuse(request, 500, "out of memory");
		return;
	}
	*bytes = (struct buf){0};
	http_reply(request, &reply, &piece, 1);
}

/* What a client of that status has to know, as header lines. */
static const char *headers_of(int status)
{
	switch (status)
	{
		case 405:
			return "Allow: GET, HEAD\r\n";
		case 503:
			return "Retry-After: 1\r\n";
		default:
			return NULL;
	}
}

void admin_refuse(struct http_request *request, int status, const char *format, ...)
{
	const struct http_reply reply = {
		.status = status, .content_type = ADMIN_TEXT, .headers = headers_of(status)};
	char line[MAX_LINE];
	struct piece pieces[2];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	pieces[0] = piece_of(line);
	pieces[1] = piece_of("\n");
	http_reply(request, &reply, pieces, 2);
}

struct inquiry *admin_inquiry(struct admin *admin, struct http_request *request,
							  const struct inquiry_kind *kind)
{
	struct inquiry *inquiry = inquiry_new(&admin->inquirer, kind, admin, request);

	if (inquiry == NULL)
		admin_refuse(request, 500, "out of memory or descriptors");
	return inquiry;
}

void admin_end_inquiry(struct inquiry *inquiry)
{
	admin_refuse(inquiry->request, 503, "the server stops");
}

/*
 * parse: reads the head of an HTTP/1.x request and undoes chunked bodies.  Pure: no allocation, no
 * I/O.  Like picohttpparser it returns the bytes used, HTTP_BAD or HTTP_MORE.
 *
 * It is strict wherever two readers could disagree about where a request ends (request smuggling):
 * lines end with CR LF and nothing else, no space before a colon, no folded lines, one length.
 */
#ifndef MILLRACE_HTTP_PARSE_H
#define MILLRACE_HTTP_PARSE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"

#define HTTP_BAD (-1)
#define HTTP_MORE (-2)
#define HTTP_MAX_HEADERS 64

/* A place in the bytes that were parsed: stays right when they move. */
struct http_span
{
	uint32_t at;
	uint32_t len;
};

struct http_header
{
	struct http_span name;
	struct http_span value; /* without the white space around it */
};

struct http_head
{
	/* Where the search for the end of the head goes on; all that is set before the head is complete. */
	uint32_t searched;
	uint32_t line;

	int status; /* after HTTP_BAD: what to answer */
	struct http_span method;
	struct http_span target;
	int minor_version; /* of HTTP/1 */
	unsigned nheaders;
	struct http_header headers[HTTP_MAX_HEADERS];

	/* What the headers say about framing. */
	bool has_length;
	bool chunked;
	bool keep_alive;
	bool expects_continue;
	uint64_t content_length; /* UINT64_MAX: more than that */
};

/* Empties the head before the first bytes of a request. */
void http_head_start(struct http_head *head);

/*
 * bytes: everything that came of this request so far; call again with the same bytes and more behind
 * them.  Returns the length of the head, HTTP_MORE, or HTTP_BAD with head->status 400, 417, 431, 501 or 505.
 */
ssize_t http_parse_head(struct http_head *head, const char *bytes, size_t len, size_t max_head);

/* ---- chunked bodies ----------------------------------------------------- */

enum http_chunk_state
{
	HTTP_CHUNK_SIZE,
	HTTP_CHUNK_EXTENSION,
	HTTP_CHUNK_SIZE_LF,
	HTTP_CHUNK_DATA,
	HTTP_CHUNK_DATA_CR,
	HTTP_CHUNK_DATA_LF,
	HTTP_CHUNK_TRAILER_START,
	HTTP_CHUNK_TRAILER,
	HTTP_CHUNK_TRAILER_LF,
	HTTP_CHUNK_END_LF,
	HTTP_CHUNK_DONE,
};

/* All zero before the first byte. */
struct http_chunked
{
	enum http_chunk_state state;
	unsigned digits;	 /* of the size that is being read */
	unsigned overhead;	 /* bytes of extensions and trailers so far */
	uint64_t chunk_left; /* of the chunk's data */
};

/*
 * Reads on from `bytes` up to the end of one run of data: returns the bytes used (0: all used up, or
 * done) or HTTP_BAD; *data is the run found in them and may be empty.  Call until it returns 0.
 */
ssize_t http_chunked_read(struct http_chunked *chunked, const char *bytes, size_t len, struct slice *data);

#endif

/*
 * page.c: the files of the page (see page.h).
 *
 * They are in the program one after the other (page_files.S).  The ETag of one is what gzip wrote behind its
 * bytes: the CRC and the length of the text.
 */
#include "front/page.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/errors.h"
#include "http/coding.h"
#include "http/http.h"

#define ROOT "/ui"
#define GZIP_WINDOW (15 + 16) /* zlib's way to ask for a gzip header */
#define GZIP_TRAILER 8		  /* CRC32 and length, 32 bits each */

#define HEADERS                                                                                              \
	"Cache-Control: no-cache\r\n"                                                                            \
	"Vary: Accept-Encoding\r\n"                                                                              \
	"X-Content-Type-Options: nosniff\r\n"                                                                    \
	"Referrer-Policy: no-referrer\r\n"                                                                       \
	"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "                     \
	"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "                        \
	"frame-ancestors 'none'; require-trusted-types-for 'script'\r\n"

extern const char page_files[];

struct file
{
	const char *name;
	struct slice gzip;
};

/* Reads the file at *at and moves behind it; false: that was the last. */
static bool next_file(const char **at, struct file *file)
{
	uint32_t len;

	file->name = *at;
	if (file->name[0] == '\0')
		return false;
	*at += strlen(*at) + 1;
	memcpy(&len, *at, sizeof(len));
	*at += sizeof(len);
	file->gzip = (struct slice){*at, len};
	*at += len;
	return true;
}

static bool find_file(struct slice name, struct file *file)
{
	const char *at = page_files;

	while (next_file(&at, file))
	{
		if (slice_is(name, file->name))
			return true;
	}
	return false;
}

bool page_has(struct slice path)
{
	size_t len = strlen(ROOT);

	return path.len >= len && memcmp(path.bytes, ROOT, len) == 0 &&
		   (path.len == len || path.bytes[len] == '/');
}

static bool find(struct slice path, struct file *file)
{
	size_t skipped = path.len > strlen(ROOT) ? strlen(ROOT "/") : path.len;
	struct slice name = {path.bytes + skipped, path.len - skipped};

	return find_file(name, file) ||
		   (memchr(name.bytes, '.', name.len) == NULL && find_file(slice_of("index.html"), file));
}

static const char *content_type(const char *name)
{
	const char *ending = strrchr(name, '.');

	return strcmp(ending, ".js") == 0	 ? "text/javascript; charset=utf-8"
		   : strcmp(ending, ".css") == 0 ? "text/css; charset=utf-8"
										 : "text/html; charset=utf-8";
}

/* One of the 32-bit numbers behind the compressed bytes. */
static uint32_t trailer(const struct file *file, size_t which)
{
	const unsigned char *p =
		(const unsigned char *)file->gzip.bytes + file->gzip.len - GZIP_TRAILER + which * sizeof(uint32_t);

	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The text of a file, to be freed; NULL: out of memory. */
static char *inflate_file(const struct file *file, size_t len)
{
	z_stream z = {.next_in = (Bytef *)file->gzip.bytes, .avail_in = (uInt)file->gzip.len};
	char *text = malloc(len);
	bool whole;

	if (text == NULL || inflateInit2(&z, GZIP_WINDOW) != Z_OK)
	{
		free(text);
		return NULL;
	}
	z.next_out = (Bytef *)text;
	z.avail_out = (uInt)len;
	whole = inflate(&z, Z_FINISH) == Z_STREAM_END;
	inflateEnd(&z);
	if (whole)
		return text;
	free(text);
	return NULL;
}

static void reply_file(struct http_request *request, const struct file *file)
{
	struct slice known = http_header(request, "If-None-Match");
	size_t len = trailer(file, 1);
	char tag[32], headers[sizeof(HEADERS) + 100];
	struct http_reply reply = {.status = 200, .content_type = content_type(file->name), .headers = headers};
	struct piece piece = {.bytes = file->gzip.bytes, .len = file->gzip.len};
	bool gzip = coding_accepts_gzip(http_header(request, "Accept-Encoding"));
	struct error error;

	/* Weak: the text is the same in both codings, the bytes are not. */
	snprintf(tag, sizeof(tag), "W/\"%08x-%zx\"", (unsigned)trailer(file, 0), len);
	snprintf(headers, sizeof(headers), HEADERS "ETag: %s\r\n%s", tag,
			 gzip ? "Content-Encoding: gzip\r\n" : "");
	if (known.bytes != NULL && memmem(known.bytes, known.len, tag + 2, strlen(tag) - 2) != NULL)
	{
		reply.status = 304;
		http_reply(request, &reply, NULL, 0);
		return;
	}
	if (!gzip)
	{
		char *text = inflate_file(file, len);

		if (text == NULL)
		{
			error_set(&error, ERROR_INTERNAL_ERROR, "out of memory");
			http_reply_error(request, &error, 500, NULL);
			return;
		}
		piece = (struct piece){.bytes = text, .len = len, .release = free, .owner = text};
	}
	http_reply(request, &reply, &piece, 1);
}

bool page_reply(struct http_request *request)
{
	struct file file;

	if (!find(http_path(request), &file))
		return false;
	reply_file(request, &file);
	return true;
}

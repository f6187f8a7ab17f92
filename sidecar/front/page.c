/*
 * page.c: the files of the page (see page.h).
 *
 * They are in the program one after the other (page_files.S).
 */
#include "front/page.h"

#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/errors.h"
#include "http/etag.h"
#include "http/http.h"

#define ROOT "/ui"
#define GZIP_WINDOW (15 + 16) /* zlib's way to ask for a gzip header */

#define HEADERS                                                                                              \
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

	/* Places of the page are plain words: a dot, also an escaped one, is meant as a file or a folder. */
	return find_file(name, file) ||
		   (memchr(name.bytes, '.', name.len) == NULL && memchr(name.bytes, '%', name.len) == NULL &&
			find_file(slice_of("index.html"), file));
}

static const char *content_type(const char *name)
{
	const char *ending = strrchr(name, '.');

	return strcmp(ending, ".js") == 0	 ? "text/javascript; charset=utf-8"
		   : strcmp(ending, ".css") == 0 ? "text/css; charset=utf-8"
										 : "text/html; charset=utf-8";
}

/* The length of a file's text, which gzip wrote last. */
static size_t text_length(const struct file *file)
{
	const unsigned char *p = (const unsigned char *)file->gzip.bytes + file->gzip.len - sizeof(uint32_t);

	return (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
}

/* Makes *piece the text of a file; false: out of memory. */
static bool inflate_file(const struct file *file, struct piece *piece)
{
	size_t len = text_length(file);
	char *text = malloc(len);
	z_stream z = {.next_in = (Bytef *)file->gzip.bytes,
				  .avail_in = (uInt)file->gzip.len,
				  .next_out = (Bytef *)text,
				  .avail_out = (uInt)len};
	bool whole = false;

	*piece = (struct piece){.bytes = text, .len = len, .release = free, .owner = text};
	if (text != NULL && inflateInit2(&z, GZIP_WINDOW) == Z_OK)
	{
		whole = inflate(&z, Z_FINISH) == Z_STREAM_END;
		inflateEnd(&z);
	}
	if (!whole)
		piece_release(piece);
	return whole;
}

static void reply_file(struct http_request *request, const struct file *file)
{
	bool gzip = http_accepts_gzip(request);
	const struct http_reply reply = {.status = 200,
									 .content_type = content_type(file->name),
									 .headers = gzip ? HEADERS "Content-Encoding: gzip\r\n" : HEADERS};
	struct piece piece = {.bytes = file->gzip.bytes, .len = file->gzip.len};
	char etag[HTTP_ETAG_LEN + 1];
	struct error error;

	http_etag_make(file->gzip, etag);
	if (!gzip && !inflate_file(file, &piece))
	{
		error_set(&error, ERROR_INTERNAL_ERROR, "out of memory");
		http_reply_error(request, &error, 500, NULL);
		return;
	}
	http_reply_tagged(request, &reply, etag, &piece);
}

bool page_reply(struct http_request *request)
{
	struct file file;

	if (!find(http_path(request), &file))
		return false;
	reply_file(request, &file);
	return true;
}

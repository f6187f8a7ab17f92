/*
 * compress.c: replies in gzip, for clients that take it; see internal.h.
 *
 * A reply that is whole is compressed in one go, by a compressor that is taken for that moment; one in parts
 * keeps one to its end.  A compressor is a quarter of a MiB, so there is a bound for them: replies that get
 * none go out as they are, which every client understands.
 */
#include <stdlib.h>
#define ZLIB_CONST
#include <zlib.h>

#include "http/coding.h"
#include "http/internal.h"

#define MIN_LENGTH 1024		  /* bytes of a reply; a shorter one fits into a packet anyway */
#define MAX_LENGTH 1048576	  /* of one that is whole: all others would wait too long */
#define MAX_COMPRESSORS 64	  /* of a server */
#define KEPT_COMPRESSORS 2	  /* that are not in use */
#define KEPT_OUTPUT 65536	  /* bytes, between replies */
#define GZIP_LEVEL 1		  /* three quarters of the gain for a third of the time */
#define GZIP_WINDOW (15 + 16) /* zlib's way to ask for a gzip header */
#define GZIP_MEMORY 8

struct compressor
{
	z_stream deflater;
	struct compressor *next; /* of the spares */
};

/* ---- compressors ------------------------------------------------------------- */

static void destroy(struct compress *compress, struct compressor *compressor)
{
	deflateEnd(&compressor->deflater);
	free(compressor);
	compress->n--;
}

/* NULL: there are enough of them, or no memory. */
static struct compressor *create(struct compress *compress)
{
	struct compressor *compressor;

	if (compress->n >= MAX_COMPRESSORS || (compressor = calloc(1, sizeof(*compressor))) == NULL)
		return NULL;
	if (deflateInit2(&compressor->deflater, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
					 Z_DEFAULT_STRATEGY) != Z_OK)
	{
		free(compressor);
		return NULL;
	}
	compress->n++;
	return compressor;
}

static struct compressor *take(struct compress *compress)
{
	struct compressor *compressor = compress->spares;

	if (compressor == NULL)
		return create(compress);
	compress->spares = compressor->next;
	compress->nspares--;
	return compressor;
}

static void give(struct compress *compress, struct compressor *compressor)
{
	if (compress->nspares >= KEPT_COMPRESSORS || deflateReset(&compressor->deflater) != Z_OK)
	{
		destroy(compress, compressor);
		return;
	}
	compressor->next = compress->spares;
	compress->spares = compressor;
	compress->nspares++;
}

void compress_free(struct compress *compress)
{
	while (compress->spares != NULL)
	{
		struct compressor *next = compress->spares->next;

		destroy(compress, compress->spares);
		compress->spares = next;
	}
	buf_free(&compress->output);
}

/* ---- a reply ------------------------------------------------------------------- */

const char *compress_begin(struct http_request *request, const struct http_reply *reply, int64_t length)
{
	struct compress *compress = &request->connection->server->compress;

	if (!reply->compress || (length >= 0 && length < MIN_LENGTH))
		return NULL;
	if (length <= MAX_LENGTH && reply->status != 304 && http_accepts_gzip(request))
		request->compressor = take(compress);
	return request->compressor != NULL ? "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n"
									   : "Vary: Accept-Encoding\r\n";
}

/* Compresses bytes to the end of `output`. */
static void add(z_stream *z, struct slice bytes, int flush, struct buf *output)
{
	unsigned char room[16384];

	z->next_in = (const unsigned char *)bytes.bytes;
	z->avail_in = (unsigned)bytes.len;
	do
	{
		z->next_out = room;
		z->avail_out = sizeof(room);
		deflate(z, flush);
		buf_add(output, room, sizeof(room) - z->avail_out);
	} while (z->avail_out == 0);
}

struct piece compress_pieces(struct http_request *request, struct piece *pieces, unsigned npieces, bool last)
{
	struct buf *output = &request->connection->server->compress.output;
	z_stream *z = &request->compressor->deflater;

	if (output->cap > KEPT_OUTPUT)
		buf_free(output);
	buf_clear(output);
	for (unsigned i = 0; i < npieces; i++)
		add(z, (struct slice){pieces[i].bytes, pieces[i].len}, Z_NO_FLUSH, output);
	if (last)
		add(z, slice_of(""), Z_FINISH, output);
	pieces_release(pieces, npieces);
	if (output->failed)
	{
		connection_close(request->connection);
		return piece_of("");
	}
	return (struct piece){.bytes = output->data, .len = output->len};
}

void compress_end(struct http_request *request)
{
	if (request->compressor != NULL)
		give(&request->connection->server->compress, request->compressor);
	request->compressor = NULL;
}

/*
 * lines.c: gunzip and the line splitter (see lines.h).
 */
#include "bulk/lines.h"

#include <stdlib.h>
#include <string.h>

#define INFLATED_BYTES 65536
#define GZIP_WINDOW (15 + 16)			 /* zlib's way to ask for the gzip format */
#define LARGE_LINE ((size_t)1024 * 1024) /* memory for longer ones is given back */

bool import_lines_open(struct import_lines *lines, bool gzip)
{
	if (!gzip)
		return true;
	lines->inflated = malloc(INFLATED_BYTES);
	lines->gzip = lines->inflated != NULL && inflateInit2(&lines->inflater, GZIP_WINDOW) == Z_OK;
	return lines->gzip;
}

void import_lines_close(struct import_lines *lines)
{
	if (lines->gzip)
		inflateEnd(&lines->inflater);
	free(lines->inflated);
	buf_free(&lines->unfinished);
}

static bool fail(struct import_lines *lines, enum import_lines_fault fault)
{
	lines->fault = fault;
	return false;
}

/* ---- lines ------------------------------------------------------------------- */

static bool is_blank(struct slice line)
{
	for (size_t i = 0; i < line.len; i++)
	{
		if (line.bytes[i] != ' ' && line.bytes[i] != '\t' && line.bytes[i] != '\r')
			return false;
	}
	return true;
}

/* A byte order mark, which some programs put before the first line. */
static void skip_bom(struct slice *line)
{
	if (line->len < 3 || memcmp(line->bytes, "\xef\xbb\xbf", 3) != 0)
		return;
	line->bytes += 3;
	line->len -= 3;
}

static bool take_line(struct import_lines *lines, struct slice line)
{
	if (lines->number++ == 0)
		skip_bom(&line);
	if (line.len > 0 && line.bytes[line.len - 1] == '\r')
		line.len--;
	return is_blank(line) || lines->take(lines->arg, line);
}

/* Adds to the unfinished line; false: there is a fault. */
static bool keep(struct import_lines *lines, const char *bytes, size_t len)
{
	if (len > lines->max_line - lines->unfinished.len)
	{
		lines->number++; /* this line's number is the one to tell */
		return fail(lines, LINES_TOO_LONG);
	}
	buf_add(&lines->unfinished, bytes, len);
	return !lines->unfinished.failed || fail(lines, LINES_NO_MEMORY);
}

static bool take_unfinished(struct import_lines *lines)
{
	bool more = take_line(lines, (struct slice){lines->unfinished.data, lines->unfinished.len});

	if (lines->unfinished.cap > LARGE_LINE)
		buf_free(&lines->unfinished);
	else
		buf_clear(&lines->unfinished);
	return more;
}

/* Returns how many bytes were used; *more is false when no more shall be. */
static size_t split(struct import_lines *lines, const char *bytes, size_t len, bool *more)
{
	size_t used = 0;

	while (*more && used < len)
	{
		const char *start = bytes + used;
		const char *lf = memchr(start, '\n', len - used);
		size_t here = lf != NULL ? (size_t)(lf - start) : len - used;

		used += here + (lf != NULL);
		if (lf != NULL && lines->unfinished.len == 0 && here <= lines->max_line)
			*more = take_line(lines, (struct slice){start, here});
		else
			*more = keep(lines, start, here) && (lf == NULL || take_unfinished(lines));
	}
	return used;
}

/* ---- gzip --------------------------------------------------------------------- */

/* Refills the buffer from the bytes; returns how many were used. */
static size_t inflate_some(struct import_lines *lines, struct slice bytes)
{
	z_stream *z = &lines->inflater;
	int result = Z_OK;

	if (lines->member_ended && bytes.len > 0)
	{
		inflateReset(z);
		lines->member_ended = false;
	}
	z->next_in = (unsigned char *)bytes.bytes;
	z->avail_in = (unsigned)bytes.len;
	z->next_out = (unsigned char *)lines->inflated;
	z->avail_out = INFLATED_BYTES;
	if (!lines->member_ended)
		result = inflate(z, Z_NO_FLUSH);
	lines->inflated_at = 0;
	lines->inflated_len = INFLATED_BYTES - z->avail_out;
	lines->inflated_full = z->avail_out == 0;
	if (result == Z_STREAM_END)
	{
		lines->member_ended = true;
		lines->inflated_full = false;
	}
	else if (result == Z_MEM_ERROR)
		fail(lines, LINES_NO_MEMORY);
	else if (result != Z_OK && result != Z_BUF_ERROR)
		fail(lines, LINES_GZIP_DAMAGED);
	return bytes.len - z->avail_in;
}

bool import_lines_go_on(struct import_lines *lines)
{
	bool more = lines->fault == LINES_SOUND;

	while (more && (lines->inflated_at < lines->inflated_len || lines->inflated_full))
	{
		if (lines->inflated_at == lines->inflated_len)
			inflate_some(lines, (struct slice){NULL, 0});
		lines->inflated_at += split(lines, lines->inflated + lines->inflated_at,
									lines->inflated_len - lines->inflated_at, &more);
		more = more && lines->fault == LINES_SOUND;
	}
	return more;
}

size_t import_lines_feed(struct import_lines *lines, struct slice bytes)
{
	size_t used = 0;
	bool more = true;

	if (!lines->gzip)
		return lines->fault != LINES_SOUND ? 0 : split(lines, bytes.bytes, bytes.len, &more);
	while (import_lines_go_on(lines) && used < bytes.len)
		used += inflate_some(lines, (struct slice){bytes.bytes + used, bytes.len - used});
	return used;
}

void import_lines_end(struct import_lines *lines)
{
	if (lines->fault == LINES_SOUND && lines->gzip && !lines->member_ended)
		fail(lines, LINES_GZIP_CUT);
	if (lines->fault == LINES_SOUND && lines->unfinished.len > 0)
		take_unfinished(lines);
}

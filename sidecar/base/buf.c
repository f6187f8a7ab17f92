/*
 * buf: a growing byte buffer with a sticky failure flag; see buf.h.
 *
 * A write that fails leaves what was there before untouched, so an owner that remembers a
 * length may truncate back to it and go on.
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "extension/protocol.h"

#define BUF_MAX_LEN ((size_t)UINT32_MAX)
#define BUF_MIN_CAP ((size_t)256)

/* Makes room for `len` more bytes; false (and failed) when that can't be had. */
static bool buf_reserve(struct buf *buf, size_t len)
{
	size_t cap = buf->cap < BUF_MIN_CAP ? BUF_MIN_CAP : buf->cap;
	char *data;

	if (buf->failed)
		return false;
	if (len <= buf->cap - buf->len)
		return true;
	if (len > BUF_MAX_LEN - buf->len)
	{
		buf->failed = true;
		return false;
	}
	while (cap - buf->len < len)
		cap *= 2;
	data = realloc(buf->data, cap);
	if (data == NULL)
	{
		buf->failed = true;
		return false;
	}
	buf->data = data;
	buf->cap = cap;
	return true;
}

void buf_free(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){0};
}

void buf_clear(struct buf *buf)
{
	buf->len = 0;
	buf->failed = false;
}

void buf_truncate(struct buf *buf, size_t len)
{
	if (len < buf->len)
		buf->len = len;
}

void buf_add(struct buf *buf, const void *bytes, size_t len)
{
	if (len == 0 || !buf_reserve(buf, len))
		return;
	memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
}

void buf_add_str(struct buf *buf, const char *text)
{
	buf_add(buf, text, strlen(text));
}

static char *write_digits(char *out, uint64_t value)
{
	char digits[DECIMAL_LEN];
	char *first = digits + sizeof(digits);

	do
		*--first = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	memcpy(out, first, (size_t)(digits + sizeof(digits) - first));
	return out + (digits + sizeof(digits) - first);
}

char *decimal_write(char out[DECIMAL_LEN], int64_t value)
{
	if (value < 0)
		*out++ = '-';
	return write_digits(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void buf_add_decimal(struct buf *buf, uint64_t value)
{
	char digits[DECIMAL_LEN];
	const char *end = write_digits(digits, value);

	buf_add(buf, digits, (size_t)(end - digits));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
	{
		buf->failed = true;
		return;
	}
	/* vsnprintf writes a NUL that is not counted in the length. */
	if (!buf_reserve(buf, (size_t)len + 1))
		return;
	va_start(args, format);
	vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
	va_end(args);
	buf->len += (size_t)len;
}

void buf_add_u8(struct buf *buf, uint8_t value)
{
	buf_add(buf, &value, 1);
}

void buf_add_u32(struct buf *buf, uint32_t value)
{
	unsigned char bytes[4];

	for (int i = 3; i >= 0; i--, value >>= 8)
		bytes[i] = (unsigned char)value;
	buf_add(buf, bytes, sizeof(bytes));
}

void buf_add_i64(struct buf *buf, int64_t value)
{
	uint64_t rest = (uint64_t)value;
	unsigned char bytes[8];

	for (int i = 7; i >= 0; i--, rest >>= 8)
		bytes[i] = (unsigned char)rest;
	buf_add(buf, bytes, sizeof(bytes));
}

void buf_add_frame_string(struct buf *buf, const char *bytes, size_t len)
{
	if (len >= FRAME_NULL)
	{
		buf->failed = true;
		return;
	}
	buf_add_u32(buf, (uint32_t)len);
	buf_add(buf, bytes, len);
	buf_add_u8(buf, 0);
}

void buf_add_frame_null(struct buf *buf)
{
	buf_add_u32(buf, FRAME_NULL);
}

/*
 * buf: a growing byte buffer with a sticky failure flag.
 *
 * Every write checks the flag first, so a caller writes a whole frame and
 * looks at `failed` once.  The owner of the struct owns `data`.
 */
#ifndef MILLRACE_BUF_H
#define MILLRACE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf
{
	char *data;
	size_t len;
	size_t cap;
	bool failed; /* out of memory, or a length over 4 GiB: contents are useless */
};

void buf_free(struct buf *buf);
void buf_clear(struct buf *buf); /* empties it, keeps the memory, clears `failed` */
void buf_truncate(struct buf *buf, size_t len);
void buf_add(struct buf *buf, const void *bytes, size_t len);
void buf_add_str(struct buf *buf, const char *text); /* without its NUL */
void buf_add_decimal(struct buf *buf, uint64_t value);
/* Writes a number as decimal digits, without a NUL; returns their end.  printf takes ten times as long. */
#define DECIMAL_LEN 20
char *decimal_write(char out[DECIMAL_LEN], int64_t value);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The pieces of frames (extension/protocol.h). */
void buf_add_u8(struct buf *buf, uint8_t value);
void buf_add_u32(struct buf *buf, uint32_t value);
void buf_add_i64(struct buf *buf, int64_t value);
void buf_add_frame_string(struct buf *buf, const char *bytes, size_t len); /* u32 length, bytes, NUL */
void buf_add_frame_null(struct buf *buf);								   /* instead of a string: none */

#endif

/*
 * slice: bytes that are owned elsewhere.
 *
 * A slice is good while its owner keeps the bytes.  A piece is a slice on its way to the socket: with
 * `release` set its bytes belong to the function that was handed it, which calls release(owner) once when
 * it is done with them, or hands it on; without it they are only good until that function returns.
 */
#ifndef MILLRACE_SLICE_H
#define MILLRACE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice
{
	const char *bytes; /* NULL = there is none */
	size_t len;
};

struct piece
{
	const char *bytes;
	size_t len;
	void (*release)(void *owner);
	void *owner;
};

static inline struct slice slice_of(const char *text)
{
	return (struct slice){text, strlen(text)};
}

static inline bool slice_is(struct slice slice, const char *text)
{
	return slice.len == strlen(text) && memcmp(slice.bytes, text, slice.len) == 0;
}

static inline struct piece piece_of(const char *text)
{
	return (struct piece){.bytes = text, .len = strlen(text)};
}

static inline void piece_release(struct piece *piece)
{
	if (piece->release != NULL)
		piece->release(piece->owner);
	piece->release = NULL;
}

#endif

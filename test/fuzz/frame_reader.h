/*
 * frame_reader: reads the frames that the sidecar writes for Postgres (extension/README.md), and is as strict
 * as the extension's own reader.
 */
#ifndef MILLRACE_FRAME_READER_H
#define MILLRACE_FRAME_READER_H

#include "oracle.h"

struct frame_reader
{
	struct slice rest;
};

static inline struct slice frame_bytes(struct frame_reader *reader, size_t len)
{
	struct slice bytes = {reader->rest.bytes, len};

	require(len <= reader->rest.len);
	reader->rest.bytes += len;
	reader->rest.len -= len;
	return bytes;
}

static inline uint64_t frame_number(struct frame_reader *reader, size_t len)
{
	struct slice bytes = frame_bytes(reader, len);
	uint64_t value = 0;

	for (size_t i = 0; i < len; i++)
		value = value << 8 | (unsigned char)bytes.bytes[i];
	return value;
}

/* .bytes is NULL for none. */
static inline struct slice frame_string(struct frame_reader *reader)
{
	uint32_t len = (uint32_t)frame_number(reader, 4);
	struct slice string;

	if (len == UINT32_MAX)
		return (struct slice){NULL, 0};
	string = frame_bytes(reader, (size_t)len + 1);
	string.len--;
	require(string.bytes[len] == '\0' && memchr(string.bytes, '\0', len) == NULL && fuzz_is_utf8(string));
	return string;
}

static inline struct slice frame_name(struct frame_reader *reader)
{
	struct slice name = frame_string(reader);

	require(name.bytes != NULL && name.len >= 1 && name.len <= 2000);
	return name;
}

/* An object that jsonb can hold. */
static inline struct slice frame_object(struct frame_reader *reader, bool required)
{
	struct slice text = frame_string(reader);
	struct json_verdict verdict;

	require(text.bytes != NULL || !required);
	if (text.bytes == NULL)
		return text;
	require(json_check(text, &verdict) && verdict.unsupported == NULL);
	require(json_kind(text) == JSON_OBJECT && fuzz_equal(json_trim(text), text));
	return text;
}

#endif

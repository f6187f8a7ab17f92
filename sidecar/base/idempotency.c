/*
 * idempotency.c: keys, and ids made of them (see idempotency.h).
 */
#include "base/idempotency.h"

#include <stdio.h>

#include "extension/protocol.h"

/* 7d7af1e5-1d0c-4b0f-9b1d-6d696c6c7261 */
static const struct uuid space = {
	{0x7d, 0x7a, 0xf1, 0xe5, 0x1d, 0x0c, 0x4b, 0x0f, 0x9b, 0x1d, 0x6d, 0x69, 0x6c, 0x6c, 0x72, 0x61}};

/* Between quotes there may be quotes and backslashes, behind a backslash each. */
static size_t read_quoted(struct slice text, char key[IDEMPOTENCY_MAX_KEY])
{
	size_t len = 0;

	for (size_t i = 1; i < text.len; i++)
	{
		char c = text.bytes[i];

		if (c == '"')
			return i == text.len - 1 ? len : 0;
		if (c == '\\')
		{
			if (++i == text.len)
				return 0;
			c = text.bytes[i];
			if (c != '"' && c != '\\')
				return 0;
		}
		if (len == IDEMPOTENCY_MAX_KEY)
			return 0;
		key[len++] = c;
	}
	return 0;
}

size_t idempotency_read(struct slice header, char key[IDEMPOTENCY_MAX_KEY])
{
	for (size_t i = 0; i < header.len; i++)
	{
		if (header.bytes[i] < ' ' || header.bytes[i] > '~')
			return 0;
	}
	if (header.len > 0 && header.bytes[0] == '"')
		return read_quoted(header, key);
	if (header.len > IDEMPOTENCY_MAX_KEY)
		return 0;
	memcpy(key, header.bytes, header.len);
	return header.len;
}

bool idempotency_request(const char *namespace_name, struct slice key, struct uuid *request)
{
	char name[MAX_NAMESPACE_NAME + 1 + IDEMPOTENCY_MAX_KEY];
	size_t len = strlen(namespace_name) + 1;

	if (len > MAX_NAMESPACE_NAME + 1 || key.len > IDEMPOTENCY_MAX_KEY)
		return false;
	memcpy(name, namespace_name, len); /* with its NUL */
	memcpy(name + len, key.bytes, key.len);
	return uuid_of_name(&space, (struct slice){name, len + key.len}, request);
}

bool idempotency_message(const struct uuid *request, unsigned call, unsigned message, struct uuid *id)
{
	char name[24];

	snprintf(name, sizeof(name), "%u.%u", call, message);
	return uuid_of_name(request, slice_of(name), id);
}

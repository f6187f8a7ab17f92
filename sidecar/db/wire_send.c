/*
 * wire_send.c: what PostgreSQL is sent, see wire.h.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "db/wire.h"

#define LARGE_VALUE 1024		 /* not worth copying */
#define KEEP_OUT ((size_t)65536) /* a larger buffer is not kept */

static void add_u16(struct buf *out, unsigned value)
{
	buf_add_u8(out, (uint8_t)(value >> 8));
	buf_add_u8(out, (uint8_t)value);
}

/* The length of a message counts itself, but not the type before it. */
static uint32_t bind_length(size_t name, const struct wire_value *values, unsigned nvalues)
{
	size_t length = 4 + 1 + name + 1 + 2 + 2 * (size_t)nvalues + 2 + 4;

	for (unsigned i = 0; i < nvalues; i++)
		length += 4 + (values[i].bytes != NULL ? values[i].len : 0);
	return (uint32_t)length;
}

static void add_value(struct wire *wire, const struct wire_value *value)
{
	buf_add_u32(&wire->out, value->bytes != NULL ? (uint32_t)value->len : UINT32_MAX);
	if (value->bytes == NULL)
		return;
	if (value->len < LARGE_VALUE || wire->large != NULL)
	{
		buf_add(&wire->out, value->bytes, value->len);
		return;
	}
	wire->large = value->bytes;
	wire->large_len = value->len;
	wire->large_at = wire->out.len;
}

void wire_execute(struct wire *wire, const char *statement, const struct wire_value *values, unsigned nvalues,
				  bool binary_result)
{
	static const char execute[] = {'E', 0, 0, 0, 9, 0, 0, 0, 0, 0}; /* the nameless portal, all rows */
	struct buf *out = &wire->out;
	size_t name = strlen(statement);

	buf_add_u8(out, 'B');
	buf_add_u32(out, bind_length(name, values, nvalues));
	buf_add_u8(out, 0); /* the nameless portal */
	buf_add(out, statement, name + 1);
	add_u16(out, nvalues);
	for (unsigned i = 0; i < nvalues; i++)
		add_u16(out, values[i].binary);
	add_u16(out, nvalues);
	for (unsigned i = 0; i < nvalues; i++)
		add_value(wire, &values[i]);
	add_u16(out, 1);
	add_u16(out, binary_result);
	buf_add(out, execute, sizeof(execute));
}

void wire_call(struct wire *wire, uint32_t function, const struct wire_value *values, unsigned nvalues)
{
	struct buf *out = &wire->out;
	size_t length = 4 + 4 + 2 + 2 + 2 + 2;

	for (unsigned i = 0; i < nvalues; i++)
		length += 4 + (values[i].bytes != NULL ? values[i].len : 0);
	buf_add_u8(out, 'F');
	buf_add_u32(out, (uint32_t)length);
	buf_add_u32(out, function);
	add_u16(out, 1); /* one format for all values: binary */
	add_u16(out, 1);
	add_u16(out, nvalues);
	for (unsigned i = 0; i < nvalues; i++)
		add_value(wire, &values[i]);
	add_u16(out, 1);
	wire->called = true;
}

void wire_sync(struct wire *wire)
{
	static const char sync[] = {'S', 0, 0, 0, 4};

	if (!wire->called)
		buf_add(&wire->out, sync, sizeof(sync));
	wire->called = false;
}

/* Keeps what was not sent, the large value too. */
static void keep_unsent(struct wire *wire, const struct iovec *parts, unsigned nparts, size_t sent)
{
	struct buf rest = {0};

	for (unsigned i = 0; i < nparts; i++)
	{
		size_t skipped = sent < parts[i].iov_len ? sent : parts[i].iov_len;

		buf_add(&rest, (const char *)parts[i].iov_base + skipped, parts[i].iov_len - skipped);
		sent -= skipped;
	}
	buf_free(&wire->out);
	wire->out = rest;
	wire->large = NULL;
}

bool wire_flush(struct wire *wire, int fd)
{
	size_t before = wire->large != NULL ? wire->large_at : wire->out.len;
	struct iovec parts[] = {
		{wire->out.data, before},
		{(void *)wire->large, wire->large != NULL ? wire->large_len : 0},
		{wire->out.data + before, wire->out.len - before},
	};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = wire->large != NULL ? 3 : 1};
	size_t all = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len;
	ssize_t sent;

	if (all == 0)
		return true;
	sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		sent = 0;
	if (sent >= 0 && (size_t)sent < all)
	{
		keep_unsent(wire, parts, 3, (size_t)sent);
		return false;
	}
	if (wire->out.cap > KEEP_OUT)
		buf_free(&wire->out);
	buf_clear(&wire->out);
	wire->large = NULL;
	return true;
}

/*
 * output.c: what is sent, at once or when the socket takes more.
 */
#include <event2/buffer.h>
#include <stdlib.h>

#include "http/internal.h"

#define MAX_VECTORS 16

void pieces_release(struct piece *pieces, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		piece_release(&pieces[i]);
}

/* Has the signature that evbuffer_add_reference asks for; `extra` is a copy of the piece. */
static void on_reference_done(const void *bytes, size_t len, void *extra)
{
	struct piece *piece = extra;

	(void)bytes;
	(void)len;
	piece_release(piece);
	free(piece);
}

/* Puts what of a piece was not sent at the end of `out`; the piece is taken. */
static bool keep_piece(struct http_connection *c, struct piece *piece, size_t sent)
{
	struct piece *copy;
	bool ok;

	if (piece->release == NULL)
		return evbuffer_add(c->out, piece->bytes + sent, piece->len - sent) == 0;
	copy = malloc(sizeof(*copy));
	ok = copy != NULL;
	if (ok)
	{
		*copy = *piece;
		ok = evbuffer_add_reference(c->out, piece->bytes + sent, piece->len - sent, on_reference_done,
									copy) == 0;
	}
	if (ok)
		piece->release = NULL;
	else
		free(copy);
	return ok;
}

/* Keeps all behind the first `sent` bytes for when the socket takes more. */
static bool keep_pieces(struct http_connection *c, struct piece *pieces, unsigned n, size_t sent)
{
	if (c->out == NULL && (c->out = evbuffer_new()) == NULL)
		return false;
	for (unsigned i = 0; i < n; i++)
	{
		if (sent >= pieces[i].len)
		{
			sent -= pieces[i].len;
			continue;
		}
		if (!keep_piece(c, &pieces[i], sent))
			return false;
		sent = 0;
	}
	event_add(&c->writable, NULL);
	memory_output_grew(c);
	return true;
}

size_t pieces_length(const struct piece *pieces, unsigned n)
{
	size_t total = 0;

	for (unsigned i = 0; i < n; i++)
		total += pieces[i].len;
	return total;
}

void connection_send(struct http_connection *c, struct piece *pieces, unsigned n)
{
	struct iovec vectors[HTTP_MAX_PIECES + 2];
	ssize_t sent = 0;

	if (c->state != CONNECTION_CLOSED && connection_unsent(c) == 0)
	{
		for (unsigned i = 0; i < n; i++)
			vectors[i] = (struct iovec){.iov_base = (void *)pieces[i].bytes, .iov_len = pieces[i].len};
		sent = transport_send(&c->transport, vectors, n);
		if (sent < 0 && !transport_must_wait())
			connection_close(c);
		if (sent < 0)
			sent = 0;
	}
	if (c->state != CONNECTION_CLOSED && (size_t)sent < pieces_length(pieces, n))
	{
		/* From here on its client is expected to read. */
		if (c->state == CONNECTION_WORKING && connection_unsent(c) == 0)
			connection_touch(c);
		if (!keep_pieces(c, pieces, n, (size_t)sent))
			connection_close(c);
	}
	pieces_release(pieces, n);
}

void connection_tell_drained(struct http_connection *c)
{
	void (*drained)(void *arg, bool gone) = c->request.drained;

	if (drained == NULL || connection_unsent(c) > c->request.low_water)
		return;
	c->request.drained = NULL;
	drained(c->request.drained_arg, false);
}

void connection_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct http_connection *c = arg;
	struct evbuffer_iovec parts[MAX_VECTORS];
	struct iovec vectors[MAX_VECTORS];
	ssize_t sent;
	int n;

	(void)fd;
	(void)what;
	/* What waited was TLS, on its way to receive something. */
	if (c->transport.wants_write)
	{
		c->transport.wants_write = false;
		event_active(&c->readable, EV_READ, 0);
	}
	if (connection_unsent(c) == 0)
		return;
	n = evbuffer_peek(c->out, -1, NULL, parts, MAX_VECTORS);
	if (n > MAX_VECTORS)
		n = MAX_VECTORS;
	for (int i = 0; i < n; i++)
		vectors[i] = (struct iovec){.iov_base = parts[i].iov_base, .iov_len = parts[i].iov_len};
	sent = transport_send(&c->transport, vectors, (size_t)n);
	if (sent < 0 && !transport_must_wait())
	{
		connection_close(c);
		return;
	}
	if (sent > 0)
	{
		evbuffer_drain(c->out, (size_t)sent);
		memory_output_shrank(c);
		connection_touch(c);
	}
	if (connection_unsent(c) > 0)
		event_add(&c->writable, NULL);
	connection_tell_drained(c);
	connection_wake(c);
}

/*
 * memory.c: what connections hold, summed up and bounded; see internal.h.
 *
 * Two sums, of input buffers and of replies that clients have not read, and one bound for each.  A request
 * that would take the first above it is refused.  When replies take the second above it, the connections of
 * the clients that have not read for longest are closed, so that those that read get their replies.
 */
#include "http/internal.h"

#include <stdlib.h>

#define FIRST_INPUT 4096	 /* bytes of a connection's input buffer */
#define MAX_IDLE_INPUT 65536 /* larger ones are given back between requests */

/* Brings the sums up to date with what the connection holds. */
static void account_input(struct http_connection *c)
{
	c->server->in_held += c->in.cap - c->in_held;
	c->in_held = c->in.cap;
}

static void account_output(struct http_connection *c)
{
	size_t now = connection_unsent(c);

	c->server->out_held += now - c->out_held;
	c->out_held = now;
}

/* ---- requests -------------------------------------------------------------- */

static size_t next_capacity(const struct input *in)
{
	return in->cap == 0 ? FIRST_INPUT : in->cap * 2;
}

bool memory_allows_growth(const struct http_connection *c)
{
	const struct http_server *server = c->server;
	size_t more = next_capacity(&c->in) - c->in.cap;

	return c->in.cap == 0 ||
		   (server->in_held < server->options.max_held && more <= server->options.max_held - server->in_held);
}

bool memory_grow_input(struct http_connection *c)
{
	size_t cap = next_capacity(&c->in);
	char *data = realloc(c->in.data, cap);

	if (data == NULL)
		return false;
	c->in.data = data;
	c->in.cap = cap;
	account_input(c);
	return true;
}

void memory_free_input(struct http_connection *c)
{
	free(c->in.data);
	c->in = (struct input){0};
	account_input(c);
}

void memory_trim_input(struct http_connection *c)
{
	bool crowded = c->server->in_held > c->server->options.max_held / 2;

	if (crowded || c->in.cap > MAX_IDLE_INPUT)
		memory_free_input(c);
}

/* ---- replies ---------------------------------------------------------------- */

void memory_output_shrank(struct http_connection *c)
{
	account_output(c);
}

void memory_output_grew(struct http_connection *c)
{
	struct http_server *server = c->server;
	struct http_connection *at = TAILQ_FIRST(&server->lists[CONNECTION_WORKING]);

	account_output(c);
	while (server->out_held > server->options.max_held && at != NULL)
	{
		struct http_connection *next = TAILQ_NEXT(at, link);

		if (at->out_held > 0)
			connection_close(at);
		at = next;
	}
}

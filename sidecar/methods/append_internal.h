/*
 * append_internal.h: what append.c and message.c share.
 */
#ifndef MILLRACE_METHODS_APPEND_INTERNAL_H
#define MILLRACE_METHODS_APPEND_INTERNAL_H

#include "methods/internal.h"

/* A request being written. */
struct writer
{
	struct method_call *call;
	struct buf *frame;
	size_t count_at; /* where the count that is not known yet goes */
	unsigned nparts;
	unsigned nmessages;
	unsigned nconditions;
	bool given_ids; /* some id is the client's, or made of its key */
	bool tagged;	/* some message has tags */
};

/* Writes a number over four bytes that are there already. */
void write_u32_at(struct buf *frame, size_t at, uint32_t value);
/* A name or a type: not empty, not too long. */
bool write_name(struct writer *writer, const char *field, struct slice value);
/*
 * `id` is what to use in place of the message's own, and `id_field` where it is; NULL: a message has its own,
 * if any.
 */
bool write_message(struct writer *writer, struct slice message, const char *id_field, struct slice id);
/* The messages of one part, with their count in front. */
bool write_messages(struct writer *writer, struct slice messages);

#endif

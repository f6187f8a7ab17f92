/*
 * wire: the protocol of PostgreSQL (version 3) for prepared statements and calls of functions on a connection
 * that libpq has opened and set up; no file outside db includes it.
 *
 * Appends and reads go this way where the connection is in clear (exchange.c).  It saves the allocations of
 * a PGresult for each answer: the bytes of an answer are used where they were received.  It saves PostgreSQL
 * the description of an answer's columns, which libpq always asks for.  libpq still owns the socket, and is
 * told nothing of what passes here; it has no statement of its own under way meanwhile.
 *
 * The reader takes whole messages only, and no byte on trust.
 */
#ifndef MILLRACE_DB_WIRE_H
#define MILLRACE_DB_WIRE_H

#include "base/buf.h"
#include "db/answer.h"

struct wire
{
	struct wire_block *block; /* owned; what was received: [start, len) is not used up */
	size_t start, len;
	size_t scan;   /* where the first message begins that was not looked at */
	unsigned rows; /* between start and scan */
	struct buf out;
	/* A value that is not copied into `out`, where it belongs at `large_at`; until wire_flush returns. */
	const char *large;
	size_t large_len, large_at;
	bool called;  /* what was queued last is a call */
	bool standby; /* the server has said that it is one, or is one no more */
	bool standby_told;
};

enum wire_event
{
	WIRE_MORE,	 /* must be received */
	WIRE_ANSWER, /* to a statement, or an error of what ends a group, or of none */
	WIRE_NOTICE,
	WIRE_READY,	 /* all up to a sync was answered */
	WIRE_BROKEN, /* nothing that comes can be made sense of, or there is no memory */
};

struct wire_value
{
	const char *bytes; /* NULL: none */
	size_t len;
	bool binary;
};

/* NULL: out of memory. */
struct wire *wire_new(void);
void wire_free(struct wire *wire);

/* Receives what is there; false: nothing comes any more, as of recv. */
bool wire_receive(struct wire *wire, int fd);
/* Takes bytes that were received; false: out of memory. */
bool wire_take(struct wire *wire, const char *bytes, size_t len);
/* What comes next.  The answer of WIRE_ANSWER and WIRE_NOTICE is the caller's to clear. */
enum wire_event wire_next(struct wire *wire, struct answer *answer);

/* Queues a prepared statement.  A large value must stay until wire_flush has returned. */
void wire_execute(struct wire *wire, const char *statement, const struct wire_value *values, unsigned nvalues,
				  bool binary_result);
/*
 * Queues a call of a function by its OID; values and result are binary.  It is a transaction of its own, for
 * which PostgreSQL needs no plan, portal or executor.  No other statement may share its sync.
 */
void wire_call(struct wire *wire, uint32_t function, const struct wire_value *values, unsigned nvalues);
/* Ends what was queued; a call ends by itself. */
void wire_sync(struct wire *wire);
/* Sends what is queued.  False: the socket does not take all of it.  What breaks it shows in receiving. */
bool wire_flush(struct wire *wire, int fd);

#endif

/*
 * internal.h: struct db, and which files the db room has.  Only they include it and the headers named here.
 *
 *     db.c          struct db: its life, the end of a loop turn, the sweep of what waited too long
 *     shared.c      what all connections and requests of a worker have in common (shared.h)
 *     conn.c        one nonblocking connection: connects, reconnects (conn.h, also of what works on one)
 *     exchange.c    statements and answers on it, by libpq or
 *     wire.c, wire_send.c   without (wire.h)
 *     answer.c      what was answered (answer.h)
 *     setup.c       what a connection begins with
 *     failure.c     how an error is to be taken
 *     batch.c       the appends: one batch in flight, the next ones gathering (batcher.h, batch_internal.h)
 *     batches.c     their memory
 *     gather.c      requests are written into the batch that gathers
 *     settle.c      answers to requests
 *     refuse.c      appends are held when another database may be behind a connection
 *     park.c        requests whose stream another session holds locked
 *     cancel.c      ends a statement that is not waited for any more
 *     site.c        where reads are answered (site.h)
 *     standby.c     which server of it will do
 *     hold.c        how long a batch may gather when nothing is in flight (hold.h)
 *     frame.c       reads frames: which streams a request appends to, and the verdicts (frame.h)
 *     query.c       everything else: the requests,
 *     pool.c        the pools of connections that they go to (pool.h),
 *     reach.c       and reads that ask for a position (query.h)
 *     watch.c       waits for what others commit
 *     walk.c        what there is to tell of each connection
 *     statement.h   what a statement is
 *     statements.c  the SQL
 *     session.c     the session of the start, which blocks
 *     pooler.c      whether sessions are lent
 *     calls_*.c     each statement's parameters and the columns of its answer (calls.h)
 *
 * Nothing is sent from inside db_append_end or db_ask.  They schedule the end of the loop turn,
 * so that requests which arrived together leave together, and nothing re-enters its caller.
 */
#ifndef MILLRACE_DB_INTERNAL_H
#define MILLRACE_DB_INTERNAL_H

#include "db/batcher.h"
#include "db/frame.h"
#include "db/site.h"

struct db
{
	struct db_shared shared;
	struct event sweep; /* runs only while something waits for a lost connection */
	struct batcher batcher;
	struct batcher deferred; /* requests that met a locked stream: they wait here and hold up no others */
	struct conn_pool slow, imports, consumers;
	struct db_site primary, standby;
};

#endif

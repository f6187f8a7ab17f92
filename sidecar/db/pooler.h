/*
 * pooler.h: whether the sessions that we get are ours.
 *
 * A pooler may lend a session for one transaction only (PgBouncer's pool_mode = transaction).  What a client
 * has prepared is then in another session than the one that it gets next, unless the pooler sees to it, as
 * PgBouncer does from 1.21 on.  The server lives by prepared statements, so without that half of its
 * statements would fail, at random.
 */
#ifndef MILLRACE_DB_POOLER_H
#define MILLRACE_DB_POOLER_H

#include "db/session.h"

/*
 * Looks with a second connection beside the session's, which must be in no transaction.  False: *error says
 * why not to start.  *pooled: sessions are lent.
 */
bool pooler_look(struct session *session, const char *conninfo, bool *pooled, struct buf *error);

#endif

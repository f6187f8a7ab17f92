/*
 * identity.h: whether two sessions lead to the same database, however they were told to go there.
 *
 * A cluster of PostgreSQL has an identifier from initdb, and a database in it a number.  Standbys have the
 * same, and so has whichever of them is promoted; what a dump is restored into has others.  A base backup
 * that is restored beside its cluster has the same, too: what tells two servers apart that both take writes
 * is a lock, which is of one server.
 */
#ifndef MILLRACE_DB_IDENTITY_H
#define MILLRACE_DB_IDENTITY_H

#include <stdbool.h>

#include "base/buf.h"

struct session;

enum identity
{
	IDENTITY_SAME, /* or a standby of it */
	IDENTITY_COPY, /* both take writes, and one comes from a copy of the other, or both do from one */
	IDENTITY_OTHER,
};

/*
 * Sets *how the other session's database is to that of the first, which is in no transaction.  False: one
 * could not be asked, and *error says why.
 */
bool identity_compare(struct session *first, struct session *other, enum identity *how, struct buf *error);

#endif

/*
 * closed.h: the types that begin with `millrace.`, which only the extension itself appends.
 */
#ifndef MILLRACE_CLOSED_H
#define MILLRACE_CLOSED_H

#include "postgres.h"

#include "protocol.h"

#define TYPE_CLOSED RESERVED_TYPES "closed"		/* the stream takes no more appends */
#define TYPE_REOPENED RESERVED_TYPES "reopened" /* it does again */

/* Says whether a stream that ends with a message of this type is closed. */
static inline bool
TypeCloses(text *type)
{
	return VARSIZE_ANY_EXHDR(type) == strlen(TYPE_CLOSED) &&
		   memcmp(VARDATA_ANY(type), TYPE_CLOSED, strlen(TYPE_CLOSED)) == 0;
}

/* Says whether clients may not append messages of this type. */
static inline bool
TypeIsReserved(text *type)
{
	return VARSIZE_ANY_EXHDR(type) >= strlen(RESERVED_TYPES) &&
		   memcmp(VARDATA_ANY(type), RESERVED_TYPES, strlen(RESERVED_TYPES)) == 0;
}

#endif

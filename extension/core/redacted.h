/*
 * redacted.h: how a message says that its content was taken away.
 */
#ifndef MILLRACE_REDACTED_H
#define MILLRACE_REDACTED_H

#include "postgres.h"

#include "utils/jsonb.h"

/* A member of the metadata, true; what begins so in a type or in metadata is Millrace's own. */
#define REDACTED_MEMBER "millrace.redacted"

/* Whether metadata, which may be NULL, is that of a redacted message. */
static inline bool
IsRedacted(Jsonb *metadata)
{
	JsonbValue found;

	return metadata && JB_ROOT_IS_OBJECT(metadata) &&
		   getKeyJsonValueFromContainer(&metadata->root, REDACTED_MEMBER, strlen(REDACTED_MEMBER), &found) &&
		   found.type == jbvBool && found.val.boolean;
}

#endif

/*
 * redacted.h: how a message says that its content was taken away.
 */
#ifndef MILLRACE_REDACTED_H
#define MILLRACE_REDACTED_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "protocol.h"

/* Whether metadata, which may be NULL, has the member, whatever its value. */
static inline bool
HasRedactedMember(Jsonb *metadata, JsonbValue *value)
{
	return metadata && JB_ROOT_IS_OBJECT(metadata) &&
		   getKeyJsonValueFromContainer(&metadata->root, REDACTED_MEMBER, strlen(REDACTED_MEMBER), value);
}

/* Whether metadata, which may be NULL, is that of a redacted message. */
static inline bool
IsRedacted(Jsonb *metadata)
{
	JsonbValue value;

	return HasRedactedMember(metadata, &value) && value.type == jbvBool && value.val.boolean;
}

#endif

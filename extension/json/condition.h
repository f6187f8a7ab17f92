/*
 * condition.h: conditions as text.
 */
#ifndef MILLRACE_JSONCONDITION_H
#define MILLRACE_JSONCONDITION_H

#include "postgres.h"

#include "core/query.h"

/*
 * Reads a condition on a query, which a NUL follows, in the server's encoding; NULL where it is for
 * ConditionsRead() to read.  Strings are slices of the text, which must live as long.
 */
extern Condition *ConditionFromText(const char *json, size_t len);

#endif

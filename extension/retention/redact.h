/*
 * redact.h: taking the content of messages away.
 */
#ifndef MILLRACE_REDACT_H
#define MILLRACE_REDACT_H

#include "postgres.h"

#include "utils/array.h"
#include "utils/jsonb.h"

#include "store/store.h"

/* Replaces data and metadata of the messages with these ids; returns how many messages that are. */
extern int64 RedactMessages(Store *store, ArrayType *ids, Jsonb *replacement, bool keep_tags);

#endif

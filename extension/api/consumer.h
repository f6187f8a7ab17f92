/*
 * consumer.h: what the functions of consumers for SQL and for JSON share.
 */
#ifndef MILLRACE_API_CONSUMER_H
#define MILLRACE_API_CONSUMER_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/jsonb.h"

#include "consumer/consumer.h"

/* A consumer's tables and the consumer, opened for one call; locked, but for settle, extend and info. */
typedef struct OpenConsumer
{
	ConsumerTables *tables;
	Consumer *consumer;
} OpenConsumer;

typedef enum ConsumerUse
{
	USE_LOCKED, /* under the consumer's lock */
	USE_KEPT,	/* the same, and nothing of what it reads is swept meanwhile */
	USE_CLAIM,	/* one claim's row only */
	USE_READ
} ConsumerUse;

extern OpenConsumer OpenConsumerOf(const char *namespace_name, text *name, ConsumerUse use);
extern void CloseConsumer(OpenConsumer open);
extern Settlement MakeSettlement(int64 claim, JsonbContainer *failed, bool release, bool has_up_to,
								 int64 up_to);

/* consumer_args.c */
extern JsonbValue *Member(JsonbContainer *object, const char *name, JsonbValue *found);
extern text *TextMember(JsonbContainer *object, const char *name);
extern int64 NumberMember(JsonbContainer *object, const char *name, int64 if_absent);
extern bool BoolMember(JsonbContainer *object, const char *name);
extern JsonbContainer *ObjectOf(const JsonbValue *value, const char *what);
extern JsonbIterator *ElementsOf(JsonbContainer *array, const char *what, int most);
extern void CheckMembers(JsonbContainer *object, const char *what, const char *const *known, int nknown);
extern int CheckMax(int64 max);
extern void CheckNextRequest(NextRequest *request);
extern int64 CheckLease(int64 lease_ms);

#endif

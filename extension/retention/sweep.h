/*
 * sweep.h: removing what a policy no longer wants, a step at a time.
 */
#ifndef MILLRACE_SWEEP_H
#define MILLRACE_SWEEP_H

#include "postgres.h"

#include "consumer/consumer.h"
#include "store/store.h"

/* Streams of one step: each is locked to commit. */
#define MAX_SWEPT_STREAMS 500

typedef enum SweepRule
{
	SWEEP_AGE,	/* what is below the first message that is young enough goes */
	SWEEP_COUNT /* of each stream the newest stay */
} SweepRule;

/* A step through one category, by one rule. */
typedef struct SweepRequest
{
	text *category;
	SweepRule rule;
	int64 position;	 /* global, where it begins */
	Timestamp young; /* SWEEP_AGE: the time, UTC, from which on a message is young enough */
	int64 keep;		 /* SWEEP_COUNT: messages of a stream; at least 1 */
	bool forget;	 /* streams that end without messages leave no floor */
	bool forced;	 /* consumers don't hold it */
	text **hold;	 /* names of consumers without which nothing is removed */
	int nhold;
	int64 max_rows; /* looked at */
	int max_streams;
} SweepRequest;

typedef struct SweepOutcome
{
	int64 rows; /* looked at, or removed */
	int64 removed;
	int nstreams;
	bytea **streams;	 /* that lost messages, by the keys of their floors */
	int64 next;			 /* where to go on */
	bool more;			 /* it ended by a bound, before the rule's end */
	int64 left;			 /* the lowest position that was left and should go; PG_INT64_MAX: none */
	int64 from, to;		 /* global positions of what was removed */
	text *held_by;		 /* a consumer that the rule would have gone beyond; NULL: none */
	int64 held_position; /* its floor */
	text **moved;		 /* consumers that had to go on without */
	int nmoved;
} SweepOutcome;

extern void SweepCategory(const char *namespace_name, const SweepRequest *request, SweepOutcome *outcome);

/* holds.c */

/* The consumers of a category, as they are at the beginning of a step. */
typedef struct Holds
{
	ConsumerTables *tables; /* NULL: there are none */
	Consumer **consumers;
	int64 *floors;
	int nconsumers;
	int64 floor; /* up to where the category may be swept */
	text *by;	 /* whose that is; NULL: nobody's, PG_INT64_MAX */
} Holds;

extern void HoldsFind(const char *namespace_name, Store *store, const SweepRequest *request, Holds *holds);
extern void HoldsCheck(const char *namespace_name, Store *store, text *category, int64 last);
extern void HoldsEnd(Holds *holds, const ConsumerLoss *losses, int nlosses, SweepOutcome *outcome);

#endif

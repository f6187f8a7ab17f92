/*
 * cache.h: what a session knows of the tables of namespaces.
 */
#ifndef MILLRACE_CACHE_H
#define MILLRACE_CACHE_H

#include "postgres.h"

#include "store/floors.h"
#include "store/store.h"

#define MESSAGES_TABLE "messages"

/* What is known of the table in a schema.  `valid` falls when anything about the table changes. */
typedef struct TableEntry
{
	Oid schema; /* hash key */
	bool valid;
	Oid relid;
	TransactionId changed_by;	/* wrote the table's row in pg_class; InvalidTransactionId: long ago */
	bool fenced;				/* the namespace is not open (fence.c) */
	const char *append_problem; /* a constant: why appends must not go round the executor; or NULL */
	Store *description;			/* in CacheMemoryContext, without the heap; NULL: not made yet */
	uint32 sequence_hash;		/* of the sequence in its syscache */
	bool remains_known;
	Remains remains; /* of removed messages (floors.c) */
} TableEntry;

/* cache.c */
extern void StoreCreateCaches(void);
extern Oid StoreFindSchema(const char *name);
extern TableEntry *StoreFindTable(Oid schema);
extern void StoreForgetNames(void);
extern void StoreForgetDescription(TableEntry *entry);
extern uint64 StoreInvalidations(void);

/* describe.c */
extern TableEntry *StoreDescribeTable(Oid schema, Relation heap);
extern void StoreCheckColumns(Relation heap);

#endif

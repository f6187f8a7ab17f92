/*
 * db_calls_bulk: what can be asked about messages in bulk, as in calls.h: exports, imports, archives, and
 * what removed messages have left.
 */
#ifndef MILLRACE_DB_CALLS_BULK_H
#define MILLRACE_DB_CALLS_BULK_H

#include "db/calls.h"

struct db_export
{
	const char *namespace_name;
	int64_t position;				 /* global */
	const char *query;				 /* JSON; NULL: none */
	const char *categories;			 /* an array literal; NULL: all */
	struct db_optional since, until; /* microseconds since 2000-01-01 UTC */
	struct db_optional before;		 /* the same: the first message that is not before it ends the export */
	int64_t max_bytes;
	struct db_reading reading;
};

#define DB_XID_LEN 24 /* of a transaction's number as text, with its NUL */

/* Of lines. */
struct db_exported
{
	struct db_page page;
	struct db_optional last; /* global position of the last message that was looked at; not set: none was */
	const char *began;		 /* which transactions were over */
};

bool db_export(struct db *db, const struct db_export *in, db_query_done done, void *arg);
struct db_exported db_exported_of(const struct db_reply *reply);

/* What ends the export of a whole namespace. */
struct db_export_end
{
	const char *namespace_name;
	const char *after;	   /* where the page before ended; NULL: this is the first */
	const char *began;	   /* of the first page of messages */
	int64_t last_exported; /* global position; 0: none */
	int64_t max_bytes;
	struct db_reading reading;
};

struct db_export_ended
{
	struct slice body;
	const char *next; /* NULL: this was the last page */
};

bool db_export_end(struct db *db, const struct db_export_end *in, db_query_done done, void *arg);
struct db_export_ended db_export_ended_of(const struct db_reply *reply);

/* What db_import answers, but for a trial. */
struct db_imported
{
	int64_t imported;				  /* messages */
	struct db_optional failed_record; /* its number in the frame; not set: all are stored */
	const char *sqlstate, *message;	  /* of the failed one */
	int64_t last_global_position;
};

struct db_imported db_imported_of(const struct db_reply *reply);

/* Answers with JSON text. */
struct db_remove_archived
{
	const char *namespace_name;
	const char *messages; /* JSON: of each the id and the SHA-256 of its line in an export */
	bool forced;
};

bool db_remove_archived(struct db *db, const struct db_remove_archived *in, db_query_done done, void *arg);

struct db_purge
{
	const char *namespace_name;
	bool full;
};

/* Both answer with texts, each a row. */
bool db_purge_statements(struct db *db, const struct db_purge *in, db_query_done done, void *arg);
bool db_purge_left(struct db *db, const struct db_purge *in, db_query_done done, void *arg);
const char *db_text_of(const struct db_reply *reply, unsigned row);
/* Runs a statement that Postgres gave us, in no transaction of ours. */
bool db_run(struct db *db, const char *statement, db_query_done done, void *arg);

/* Deletes the namespace's messages. */
bool db_empty_namespace(struct db *db, const char *name, db_query_done done, void *arg);

#endif

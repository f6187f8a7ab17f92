/*
 * create.c: the tables of what is left of removed messages (store/floors.c).
 *
 * A namespace gets them when it is created.  One that was there before gets them from its owner's first
 * removal.
 */
#include "postgres.h"

#include "access/relation.h"
#include "executor/spi.h"
#include "catalog/namespace.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/errors.h"
#include "retention/remove.h"

PG_FUNCTION_INFO_V1(millrace_create_floors);

extern Datum millrace_create_floors(PG_FUNCTION_ARGS);

static const char *const commands[] = {
	"CREATE TABLE IF NOT EXISTS %s.stream_floors (stream bytea PRIMARY KEY, version bigint NOT NULL, "
	"closed boolean NOT NULL, restored boolean NOT NULL) USING heap",
	"CREATE INDEX IF NOT EXISTS stream_floors_restored ON %s.stream_floors (restored)",
	"CREATE TABLE IF NOT EXISTS %s.removed_ids (id uuid PRIMARY KEY, removed_at timestamptz NOT NULL) USING "
	"heap",
	"CREATE INDEX IF NOT EXISTS removed_ids_at ON %s.removed_ids (removed_at)",
};

/*
 * Makes the tables in a schema, where they are not there: for the owner of its messages, one session at a
 * time.  Errors: 42501 for a role that is not.
 */
void
RemoveCreateFloors(Oid schema)
{
	Relation heap = StoreOpenHeap(schema, ShareUpdateExclusiveLock, ACL_SELECT);
	const char *name = quote_identifier(get_namespace_name(schema));
	StoreCaller caller;

	if (!has_privs_of_role(GetUserId(), heap->rd_rel->relowner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of table %s.messages for its first removal", name),
						errhint("Its owner prepares it with SELECT millrace.create_floors(%s).",
								quote_literal_cstr(get_namespace_name(schema)))));
	caller = StoreBecomeOwner(heap);
	SPI_connect();
	for (int i = 0; i < lengthof(commands); i++)
		if (SPI_execute(psprintf(commands[i], name), false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not create the tables of floors");
	SPI_finish();
	StoreBecomeCaller(caller);
	relation_close(heap, NoLock);
}

/* create_floors(schema) */
Datum
millrace_create_floors(PG_FUNCTION_ARGS)
{
	RemoveCreateFloors(get_namespace_oid(text_to_cstring(PG_GETARG_TEXT_PP(0)), false));
	PG_RETURN_VOID();
}

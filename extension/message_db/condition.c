/*
 * condition.c: Message DB's reads with a condition, a text that becomes part of the query.
 *
 * The query is Message DB's own.  A category's rows are then cut at the end of the prefix: the first row, up
 * to the last one returned, that may still commit (core/read.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "message_db/message_db.h"

#define RESULT_GLOBAL_POSITION 5

/* Makes the query.  $1 name, $2 position, $3 limit, $4 correlation, $5 member, $6 size. */
char *
MessageDbCommand(Oid schema, const ReadRequest *request, const char *condition)
{
	const char *own = quote_identifier(get_namespace_name(schema));
	bool category = request->kind == READ_CATEGORY;
	StringInfoData command;

	initStringInfo(&command);
	appendStringInfo(
		&command,
		"\n    SELECT\n      id::varchar,\n      stream_name::varchar,\n      type::varchar,\n"
		"      position::bigint,\n      global_position::bigint,\n      data::varchar,\n"
		"      metadata::varchar,\n      time::timestamp\n    FROM\n      %s.messages\n    WHERE\n",
		own);
	if (category)
		appendStringInfo(&command, "      %s.category(stream_name) = $1 AND\n      global_position >= $2",
						 own);
	else
		appendStringInfoString(&command, "      stream_name = $1 AND\n      position >= $2");
	if (request->correlation)
		appendStringInfo(&command, " AND\n      %s.category(metadata->>'correlationStreamName') = $4", own);
	if (request->size > 0)
		appendStringInfo(&command, " AND\n      MOD(@%s.hash_64(%s.cardinal_id(stream_name)), $6) = $5", own,
						 own);
	appendStringInfo(&command, " AND\n      (%s)\n    ORDER BY\n      %s ASC", condition,
					 category ? "global_position" : "position");
	if (request->limit != NO_LIMIT)
		appendStringInfoString(&command, "\n      LIMIT\n        $3");
	return command.data;
}

static int64
GlobalPositionOfRow(uint64 row)
{
	bool isnull;

	return DatumGetInt64(
		SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, RESULT_GLOBAL_POSITION, &isnull));
}

/* Runs the query with the active snapshot and puts its rows. */
void
MessageDbReadBySql(Store *store, const ReadRequest *request, const char *command, ResultSet *set)
{
	Oid types[6] = {VARCHAROID, INT8OID, INT8OID, VARCHAROID, INT8OID, INT8OID};
	Datum values[6] = {PointerGetDatum(request->name), Int64GetDatum(request->position),
					   Int64GetDatum(request->limit),  PointerGetDatum(request->correlation),
					   Int64GetDatum(request->member), Int64GetDatum(request->size)};
	char nulls[7] = "      ";
	int64 end = PG_INT64_MAX;

	if (!request->name)
		nulls[0] = 'n';
	if (!request->correlation)
		nulls[3] = 'n';
	SPI_connect();
	if (SPI_execute_with_args(command, 6, types, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "a read with a condition is not a SELECT");
	if (request->kind == READ_CATEGORY && request->name && SPI_processed > 0)
		end = ReadPrefixEnd(store, request, GlobalPositionOfRow(SPI_processed - 1));
	for (uint64 row = 0; row < SPI_processed && (end == PG_INT64_MAX || GlobalPositionOfRow(row) < end);
		 row++)
		tuplestore_puttuple(set->rows, SPI_tuptable->vals[row]);
	SPI_finish();
}

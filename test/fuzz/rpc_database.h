/*
 * rpc_database.h: fuzz_rpc.c's stand-in for the database: what it is asked to store must be a frame that the
 * extension takes, parameters must be UTF-8, and it answers as Postgres might.
 */
#ifndef MILLRACE_FUZZ_RPC_DATABASE_H
#define MILLRACE_FUZZ_RPC_DATABASE_H

#include <inttypes.h>

#include "db/statement.h"
#include "frame_reader.h"

/* How the stand-in answers. */
enum mood
{
	WILLING,
	FAILING, /* an error from Postgres; a reader of pages loses interest after the first */
	FULL,
	MOODS
};

/* What is waiting for its answer. */
struct question
{
	struct question *next;
	const struct db_statement_info *statement;
	db_query_done query_done;
	unsigned page;
	struct db_append append; /* of an append */
	void *arg;
	unsigned calls; /* of consumer.next */
};

struct db
{
	enum mood mood;
	struct buf batch;
	size_t mark;
	bool writing;
	unsigned pages;
	struct question *first, **last;
	struct buf did; /* what was asked for, without what is random */
};

/* ---- the stand-in ------------------------------------------------------------------------ */

static struct question *ask(struct db *db, void *arg)
{
	struct question *question = calloc(1, sizeof(*question));

	question->arg = arg;
	*db->last = question;
	db->last = &question->next;
	return question;
}

struct buf *db_append_begin(struct db *db, enum db_status *why)
{
	require(!db->writing);
	if (db->mood == FULL)
	{
		*why = DB_OVERLOADED;
		return NULL;
	}
	db->writing = true;
	db->mark = db->batch.len;
	return &db->batch;
}

void db_append_abandon(struct db *db)
{
	require(db->writing);
	db->writing = false;
	buf_truncate(&db->batch, db->mark);
}

static void note(struct db *db, const char *what, struct slice value)
{
	buf_printf(&db->did, "%s %zu ", what, value.bytes == NULL ? (size_t)9999999 : value.len);
	buf_add(&db->did, value.bytes, value.len);
	buf_add_str(&db->did, "\n");
}

/* Reads one request of the batch. */
static void read_request(struct db *db, const struct db_append *append)
{
	struct frame_reader reader = {{db->batch.data + db->mark, db->batch.len - db->mark}};
	unsigned nparts, nmessages = 0;

	note(db, "append", frame_name(&reader));
	nparts = (unsigned)frame_number(&reader, 4);
	require(((nparts & FRAME_CONDITIONS) != 0) == (append->nconditions > 0));
	if (append->nconditions > 0)
		note(db, "conditions", frame_string(&reader));
	nparts &= ~FRAME_CONDITIONS;
	require(nparts > 0 && nparts == append->nparts);
	for (unsigned i = 0; i < nparts; i++)
	{
		unsigned count;
		int64_t expected;

		note(db, "stream", frame_name(&reader));
		expected = (int64_t)frame_number(&reader, 8);
		require(expected >= -1 || expected == INT64_MIN);
		buf_printf(&db->did, "expected %" PRId64 "\n", expected);
		count = (unsigned)frame_number(&reader, 4);
		require(count > 0);
		for (unsigned j = 0; j < count; j++)
		{
			struct slice id = frame_bytes(&reader, 16);

			if (append->new_ids)
				require((id.bytes[6] & 0xF0) == 0x70 && (id.bytes[8] & 0xC0) == 0x80);
			note(db, "type", frame_name(&reader));
			note(db, "data", frame_object(&reader, true));
			note(db, "metadata", frame_object(&reader, false));
		}
		nmessages += count;
	}
	require(nmessages == append->nmessages && reader.rest.len == 0);
}

bool db_append_end(struct db *db, const struct db_append *append)
{
	require(db->writing && !db->batch.failed && append->namespace_name != NULL);
	db->writing = false;
	read_request(db, append);
	ask(db, append->arg)->append = *append;
	return true;
}

/* How many objects there are in an array. */
static unsigned count_objects(const char *array)
{
	unsigned depth = 0, count = 0;
	bool in_string = false;

	for (const char *at = array; *at != '\0'; at++)
	{
		if (in_string && *at == '\\')
			at++;
		else if (*at == '"')
			in_string = !in_string;
		else if (!in_string && (*at == '{' || *at == '['))
			count += depth++ == 1;
		else if (!in_string && (*at == '}' || *at == ']'))
			depth--;
	}
	return count;
}

bool db_ask(struct db *db, const struct db_statement_info *statement, const char *const *params,
			db_query_done done, void *arg)
{
	struct question *question;

	buf_printf(&db->did, "statement %s\n", statement->name);
	for (int i = 0; i < statement->nparams; i++)
	{
		/* The hash of a token that was made. */
		bool random = (statement == &db_create_namespace_statement && i == 2) ||
					  (statement == &db_create_token_statement && i == 3);

		if (params[i] != NULL)
			require(fuzz_is_utf8(slice_of(params[i])));
		random = random || (statement == &db_consumer_next_statement && i == 2); /* ids of requests */
		if (!random)
			note(db, "parameter", params[i] == NULL ? (struct slice){NULL, 0} : slice_of(params[i]));
	}
	if (db->mood == FULL)
		return false;
	question = ask(db, arg);
	question->statement = statement;
	question->query_done = done;
	question->page = db->pages++;
	if (statement == &db_consumer_next_statement)
		question->calls = count_objects(params[2]);
	return true;
}

bool db_read(struct db *db, const struct db_statement_info *statement, const char *const *params,
			 const struct db_reading *reading, db_query_done done, void *arg)
{
	buf_printf(&db->did, "at least %" PRId64 "\n", reading->min_position);
	return db_ask(db, statement, params, done, arg);
}

uint64_t db_outage_ms(const struct db *db)
{
	(void)db;
	return 0;
}

const char *db_unavailable(const struct db *db)
{
	(void)db;
	return "Postgres cannot be reached";
}

unsigned db_connections(const struct db *db)
{
	(void)db;
	return 3;
}

static PGresult *make_rows(unsigned nrows, int ncolumns, const char *const *values)
{
	static PGresAttDesc columns[5] = {
		{.name = "a"}, {.name = "b"}, {.name = "c"}, {.name = "d"}, {.name = "e"}};
	PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);

	require(PQsetResultAttrs(result, ncolumns, columns));
	for (unsigned row = 0; row < nrows; row++)
	{
		for (int i = 0; i < ncolumns; i++)
		{
			int len = values[i] == NULL ? -1 : (int)strlen(values[i]);

			require(PQsetvalue(result, (int)row, i, (char *)values[i], len));
		}
	}
	return result;
}

static PGresult *make_result(int ncolumns, const char *const *values)
{
	return make_rows(1, ncolumns, values);
}

/* Every other time there is nothing to do, so that a call may wait. */
static PGresult *deliveries(const struct question *question)
{
	const char *const claim[] = {"\"claim\":7,\"messages\":[]", "\"settled\":[1],\"lost\":[]", "7", NULL,
								 "0"};
	const char *const nothing[] = {"\"claim\":null,\"messages\":[]", NULL, NULL, "5", "0"};

	return make_rows(question->calls, 5, question->page % 2 == 0 ? nothing : claim);
}

/* The first page is a large one: those are passed on without a copy. */
static PGresult *answer_to(const struct question *question)
{
	static char large[20000];
	const char *page[] = {"[2]", "1", NULL, "9", "t"}; /* the last two are a query's */
	bool of_query = question->statement == &db_read_query_statement;
	const char *value = "{\"namespace\" : \"n\", \"createdAt\" : \"t\"}";

	if (question->statement == &db_consumer_next_statement)
		return deliveries(question);
	if (!of_query && question->statement != &db_read_stream_statement &&
		question->statement != &db_read_category_statement)
		return make_result(1, &value);
	if (question->page == 0)
	{
		memset(large, ' ', sizeof(large) - 1);
		memcpy(large, "[1]", 3);
		page[0] = large;
		page[2] = "7";
	}
	return make_result(of_query ? 5 : 3, page);
}

static void answer_query(struct db *db, struct question *question)
{
	struct answer answer = {.status = ANSWER_STRANGE};
	struct db_reply reply = {.status = DB_OK, .answer = &answer};

	if (db->mood == FAILING && question->page == 0)
		reply =
			(struct db_reply){.status = DB_ERROR, .error = {"MR006", "no \"such\" thing", "", "a\thint", 0}};
	else
		answer.result = answer_to(question);
	question->query_done(question->arg, &reply);
	answer_clear(&answer);
}

static void answer_append(struct db *db, struct question *question)
{
	struct db_append_reply reply = {.status = DB_OK, .nparts = question->append.nparts};
	struct db_part *parts = calloc(reply.nparts, sizeof(*parts));

	reply.parts = parts;
	if (db->mood == FAILING)
		reply = (struct db_append_reply){
			.status = DB_ERROR, .error = {"MR001", "", "", "", 0}, .expected = 1, .actual = -1};
	question->append.done(question->arg, &reply);
	free(parts);
}

static bool answer_next(struct db *db)
{
	struct question *question = db->first;

	if (question == NULL)
		return false;
	db->first = question->next;
	if (db->first == NULL)
		db->last = &db->first;
	if (question->query_done != NULL)
		answer_query(db, question);
	else
		answer_append(db, question);
	free(question);
	return true;
}

#endif

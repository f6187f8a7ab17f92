/*
 * fuzz_rpc.c: both envelopes and all methods, with a stand-in for the database behind them that checks what
 * it is asked to store and answers as Postgres might.  Whatever the body is:
 *
 *   - there is one last reply; it has no body or one that json-c takes; a request's id comes back
 *   - a request that was refused left nothing in the batch, one that was not is a frame that the extension
 *     takes
 *   - parameters are UTF-8
 *   - the array form, JSON-RPC and a batch of one do the same and say the same
 */
#include <event2/event.h>
#include <inttypes.h>

#include "db/statement.h"
#include "frame_reader.h"
#include "rpc/rpc.h"
#include "base/stats.h"

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
		bool random = statement == &db_create_namespace_statement && i == 2;

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
	const char *page[] = {"[2]", "1", NULL};
	const char *value = "{\"namespace\" : \"n\", \"createdAt\" : \"t\"}";

	if (question->statement == &db_consumer_next_statement)
		return deliveries(question);
	if (question->statement != &db_read_stream_statement &&
		question->statement != &db_read_category_statement)
		return make_result(1, &value);
	if (question->page == 0)
	{
		memset(large, ' ', sizeof(large) - 1);
		memcpy(large, "[1]", 3);
		page[0] = large;
		page[2] = "7";
	}
	return make_result(3, page);
}

static void answer_query(struct db *db, struct question *question)
{
	struct db_reply reply = {.status = DB_OK};

	if (db->mood == FAILING && question->page == 0)
		reply =
			(struct db_reply){.status = DB_ERROR, .error = {"MR006", "no \"such\" thing", "", "a\thint", 0}};
	else
		reply.result = answer_to(question);
	question->query_done(question->arg, &reply);
	PQclear(reply.result);
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

/* ---- one request --------------------------------------------------------------------------- */

struct outcome
{
	unsigned last_replies;
	int status;
	bool broken;
	bool cancelled;
	struct buf body;
	struct rpc_request *waiting;
	struct rpc_request *patient; /* waits for something to do */
	struct db db;
};

static void on_reply(void *arg, struct rpc_reply *reply)
{
	struct outcome *outcome = arg;

	require(outcome->last_replies == 0 && reply->npieces <= RPC_MAX_PIECES);
	if (reply->waiting)
	{
		outcome->patient = reply->request;
		return;
	}
	outcome->patient = NULL;
	if (outcome->status == 0)
		outcome->status = reply->status;
	for (unsigned i = 0; i < reply->npieces; i++)
	{
		buf_add(&outcome->body, reply->pieces[i].bytes, reply->pieces[i].len);
		piece_release(&reply->pieces[i]);
	}
	outcome->broken |= reply->broken;
	outcome->waiting = reply->more ? reply->request : NULL;
	outcome->last_replies += !reply->more;
}

static struct slice body_of(const struct outcome *outcome)
{
	return (struct slice){outcome->body.data, outcome->body.len};
}

static uint64_t bit_of(const char *namespace_name)
{
	return namespace_name[0] == 'd';
}

static void set_waiting(void *arg, bool waiting)
{
	(void)arg;
	(void)waiting;
}

static bool are_told(void *arg)
{
	(void)arg;
	return true;
}

static void note_settled(void *arg, const char *namespace_name)
{
	(void)arg;
	(void)namespace_name;
}

static const struct consumers_hooks hooks = {
	.bit = bit_of, .set_waiting = set_waiting, .are_told = are_told, .settled = note_settled};

static struct outcome *run(struct slice body, enum mood mood, const char *namespace_name)
{
	struct outcome *outcome = calloc(1, sizeof(*outcome));
	_Atomic unsigned long generation = 0;
	static struct stats stats;
	static struct event_base *base;
	struct methods methods = {.db = &outcome->db, .token_generation = &generation, .stats = &stats};
	struct rpc rpc = {.methods = &methods, .max_gathered = SIZE_MAX};

	const struct rpc_caller caller = {.namespace_name = namespace_name};

	if (base == NULL)
		base = event_base_new();
	methods.consumers = consumers_new(base, &methods, &hooks);
	outcome->db.mood = mood;
	outcome->db.last = &outcome->db.first;
	rpc_start(&rpc, &caller, body, on_reply, outcome);
	for (;;)
	{
		struct rpc_request *waiting = outcome->waiting;

		outcome->waiting = NULL;
		if (waiting != NULL && mood == FAILING)
		{
			rpc_cancel(waiting);
			outcome->cancelled = true;
		}
		else if (waiting != NULL)
			rpc_resume(waiting);
		else if (!answer_next(&outcome->db) && outcome->patient == NULL)
			break;
		else if (outcome->patient != NULL && outcome->db.first == NULL) /* its client hangs up */
			rpc_abandon(outcome->patient);
	}
	require(outcome->last_replies == !outcome->cancelled);
	require(!outcome->db.writing);
	consumers_free(methods.consumers);
	return outcome;
}

static void forget(struct outcome *outcome)
{
	buf_free(&outcome->body);
	buf_free(&outcome->db.batch);
	buf_free(&outcome->db.did);
	free(outcome);
}

/* ---- what must hold ------------------------------------------------------------------------- */

static void check_reply(struct outcome *outcome)
{
	static const int statuses[] = {200, 204, 400, 403, 404, 409, 500, 503};
	bool known = false;

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		known |= outcome->status == statuses[i];
	require(known);
	if (outcome->status == 204)
		require(outcome->body.len == 0);
	else if (!outcome->broken && !outcome->cancelled)
		json_object_put(oracle_require(body_of(outcome)));
}

static struct json_object *get(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	if (json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, key, &value);
	return value;
}

/* The id of a single request comes back; a notification has no answer. */
static void check_id(struct slice body, const struct outcome *outcome)
{
	struct json_object *request, *reply, *id;
	struct json_verdict verdict;

	/* Keys that json-c spells otherwise, and texts that are none. */
	if (!json_check(body, &verdict) || verdict.unsupported != NULL || outcome->cancelled || outcome->broken)
		return;
	require(oracle_parse(body, &request));
	if (json_object_is_type(get(request, "jsonrpc"), json_type_string) &&
		strcmp(json_object_get_string(get(request, "jsonrpc")), "2.0") == 0 &&
		json_object_get_string_len(get(request, "jsonrpc")) == 3)
	{
		if (outcome->status == 204)
			require(!json_object_object_get_ex(request, "id", NULL));
		else
		{
			require(outcome->status == 200 && oracle_parse(body_of(outcome), &reply));
			id = get(request, "id");
			if (!json_object_is_type(id, json_type_string) && !json_object_is_type(id, json_type_int) &&
				!json_object_is_type(id, json_type_double))
				id = NULL;
			require(json_object_equal(get(reply, "id"), id));
			require((get(reply, "error") != NULL) != json_object_object_get_ex(reply, "result", NULL));
			json_object_put(reply);
		}
	}
	json_object_put(request);
}

static bool same_did(const struct outcome *a, const struct outcome *b)
{
	return fuzz_equal((struct slice){a->db.did.data, a->db.did.len},
					  (struct slice){b->db.did.data, b->db.did.len});
}

static bool refuses_key(const struct outcome *outcome)
{
	static const char words[] = " is not known; ";

	return memmem(outcome->body.data, outcome->body.len, words, strlen(words)) != NULL;
}

/* The array form and JSON-RPC say the same, and JSON-RPC says the same in a batch. */
static void compare_answers(const struct outcome *outcome, const struct outcome *single,
							const struct outcome *gathered)
{
	struct json_object *a = oracle_require(body_of(outcome));
	struct json_object *b = oracle_require(body_of(single));

	if (outcome->status == 200)
		/* ns.create makes a token. */
		require(json_object_equal(a, get(b, "result")) || get(a, "token") != NULL);
	else
	{
		require(strcmp(json_object_get_string(get(get(a, "error"), "code")),
					   json_object_get_string(get(get(get(b, "error"), "data"), "code"))) == 0);
		require(json_object_equal(get(get(a, "error"), "message"), get(get(b, "error"), "message")));
	}
	if (get(a, "token") == NULL)
		require(gathered->body.len == single->body.len + 2 &&
				memcmp(gathered->body.data + 1, single->body.data, single->body.len) == 0);
	json_object_put(a);
	json_object_put(b);
}

/*
 * The array form and JSON-RPC: the same call, and the same answer in another envelope; but JSON-RPC refuses
 * every key that it does not know.
 */
static void compare_envelopes(struct slice array, const struct outcome *outcome, enum mood mood,
							  const char *name)
{
	struct json_iterator iterator;
	struct slice method, argument;
	struct buf text = {0};
	struct buf batch = {0};
	struct outcome *single, *gathered;

	json_iterate(&iterator, array);
	if (!json_next_element(&iterator, &method) || json_kind(method) != JSON_STRING)
		return;
	buf_add_str(&text, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":");
	buf_add(&text, method.bytes, method.len);
	buf_add_str(&text, ",\"params\":[");
	for (bool first = true; json_next_element(&iterator, &argument); first = false)
	{
		buf_add_str(&text, first ? "" : ",");
		buf_add(&text, argument.bytes, argument.len);
	}
	buf_add_str(&text, "]}");
	buf_add_str(&batch, "[");
	buf_add(&batch, text.data, text.len);
	buf_add_str(&batch, "]");
	single = run((struct slice){text.data, text.len}, mood, name);
	gathered = run((struct slice){batch.data, batch.len}, mood, name);
	require(same_did(single, gathered) && single->status == 200 && gathered->status == 200);
	if (!refuses_key(single))
		require(same_did(single, outcome) && single->cancelled == outcome->cancelled);
	if (!refuses_key(single) && !outcome->cancelled && !outcome->broken)
		compare_answers(outcome, single, gathered);
	forget(single);
	forget(gathered);
	buf_free(&text);
	buf_free(&batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice body = fuzz_slice(data, size);
	struct json_verdict verdict;

	for (enum mood mood = WILLING; mood < MOODS; mood++)
	{
		const char *name = size % 4 == 0 ? "other" : "default";
		struct outcome *outcome = run(body, mood, name);

		check_reply(outcome);
		check_id(body, outcome);
		if (outcome->db.batch.len > 0)
			require(outcome->db.did.len > 0);
		if (json_check(body, &verdict) && json_kind(json_trim(body)) == JSON_ARRAY)
			compare_envelopes(json_trim(body), outcome, mood, name);
		forget(outcome);
		/* What is no JSON is the same in every mood. */
		if (verdict.malformation != JSON_WELL_FORMED)
			break;
	}
	return 0;
}

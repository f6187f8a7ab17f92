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

#include "base/process_view.h"
#include "base/rights.h"
#include "base/stats.h"
#include "places/places.h"
#include "rpc/rpc.h"
#include "rpc_database.h"

/* ---- where namespaces are: without a directory, at the one database --------------------------- */

static struct place own;

struct place *places_of(struct places *places, const char *namespace_name)
{
	(void)places;
	(void)namespace_name;
	return &own;
}

struct place *places_own(struct places *places)
{
	(void)places;
	return &own;
}

struct place *places_named(struct places *places, const char *cluster)
{
	(void)places;
	(void)cluster;
	return NULL;
}

struct place *places_open(struct places *places, unsigned cluster)
{
	(void)places;
	(void)cluster;
	return &own;
}

struct place *places_next(struct places *places, unsigned cluster)
{
	(void)places;
	return cluster == DIRECTORY_OWN ? &own : NULL;
}

struct directory *places_directory(struct places *places)
{
	(void)places;
	return NULL;
}

const char *places_name(struct places *places, const struct place *place)
{
	(void)places;
	(void)place;
	return "";
}

bool places_is_paused(const struct places *places, const char *namespace_name)
{
	(void)places;
	(void)namespace_name;
	return false;
}

uint64_t places_deadline(const struct places *places, uint64_t began_ms)
{
	(void)places;
	return began_ms;
}

bool places_wait(struct places *places, const char *namespace_name, uint64_t deadline_ms,
				 struct place_wait *wait, struct error *error)
{
	(void)places;
	(void)namespace_name;
	(void)deadline_ms;
	(void)wait;
	error_set(error, ERROR_BACKEND_UNAVAILABLE, "nothing waits");
	return false;
}

void places_leave(struct place_wait *wait)
{
	(void)wait;
}

bool places_enter(struct places *places, const char *namespace_name, const struct place *place,
				  void (*done)(void *arg, const struct error *error), void *arg, struct error *error)
{
	(void)places;
	(void)namespace_name;
	(void)place;
	(void)done;
	(void)arg;
	error->code = ERROR_NONE;
	return false;
}

void directory_find(struct directory *directory, const char *namespace_name, struct placement *placement)
{
	(void)directory;
	(void)namespace_name;
	*placement = (struct placement){.cluster = DIRECTORY_OWN};
}

unsigned directory_clusters(struct directory *directory)
{
	(void)directory;
	return 0;
}

const char *directory_cluster_name(struct directory *directory, unsigned cluster)
{
	(void)directory;
	(void)cluster;
	return NULL;
}

void directory_walk(struct directory *directory,
					void (*visit)(void *arg, const char *namespace_name, unsigned cluster), void *arg)
{
	(void)directory;
	(void)visit;
	(void)arg;
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

static bool are_told(void *arg, const char *namespace_name)
{
	(void)arg;
	(void)namespace_name;
	return true;
}

static void note_settled(void *arg, const char *namespace_name)
{
	(void)arg;
	(void)namespace_name;
}

static const struct consumers_hooks hooks = {
	.bit = bit_of, .set_waiting = set_waiting, .are_told = are_told, .settled = note_settled};

static bool list_connections(void *arg, void (*done)(void *call, struct slice json), void *call)
{
	(void)arg;
	done(call, slice_of("{\"connections\":[]}"));
	return true;
}

static const struct process_view process = {.nworkers = 1, .list_connections = list_connections};

static struct outcome *run(struct slice body, enum mood mood, const char *namespace_name)
{
	struct outcome *outcome = calloc(1, sizeof(*outcome));
	_Atomic unsigned long generation = 0;
	static struct stats stats;
	static struct event_base *base;
	static struct buf document; /* made once */
	struct methods methods = {
		.token_generation = &generation, .stats = &stats, .document = document, .process = &process};
	struct rpc rpc = {.methods = &methods, .max_gathered = SIZE_MAX};

	bool administrator = strcmp(namespace_name, DEFAULT_NAMESPACE) == 0;
	const struct rpc_caller caller = {.namespace_name = namespace_name,
									  .place = &own,
									  .rights =
										  RIGHTS_ALL | (administrator ? RIGHT_ADMINISTRATOR : RIGHT_NONE)};

	if (base == NULL)
		base = event_base_new();
	methods.consumers = consumers_new(base, &methods, &hooks);
	own.db = &outcome->db;
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
	document = methods.document;
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

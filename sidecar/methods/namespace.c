/*
 * namespace.c: ns.create, ns.delete, ns.setLimits, ns.info, ns.streams and ns.categories.
 */
#include <string.h>

#include "base/log.h"
#include "methods/internal.h"
#include "access/quota.h"
#include "access/token.h"

enum create_text
{
	CREATE_NAME,
	CREATE_DESCRIPTION,
	CREATE_TOKEN_HASH,
	CREATE_METADATA,
	CREATE_TOKEN,
	CREATE_CLUSTER,
};

enum delete_text
{
	DELETE_NAME,
	DELETE_ANSWER,
};

void method_forget_tokens(struct method_call *call)
{
	atomic_fetch_add(call->methods->token_generation, 1);
}

/* Puts the token behind the namespace: {"namespace":N,"token":T,"createdAt":C}. */
static bool add_token(struct method_call *call, struct slice created, const char *token, struct buf *out)
{
	struct json_iterator iterator;
	struct slice key, value;

	if (json_kind(created) != JSON_OBJECT)
		return method_fail(call, ERROR_INTERNAL_ERROR, "something was created, and is not described");
	json_iterate(&iterator, created);
	while (json_next_member(&iterator, &key, &value))
	{
		buf_add_str(out, out->len == 0 ? "{" : ",");
		buf_add(out, key.bytes, key.len);
		buf_add_str(out, ":");
		buf_add(out, value.bytes, value.len);
		if (!json_string_is(key, "namespace"))
			continue;
		buf_add_str(out, ",\"token\":");
		json_add_string(out, token, strlen(token));
	}
	buf_add_str(out, "}");
	return out->failed ? method_fail(call, ERROR_INTERNAL_ERROR, "out of memory") : true;
}

void method_answer_created(struct method_call *call, struct db_reply *reply, const char *token)
{
	struct buf text = {0};
	bool ok;

	if (reply->status != DB_OK)
		ok = method_fail_status(call, reply->status, &reply->error);
	else
	{
		method_forget_tokens(call);
		ok = add_token(call, json_trim(db_json_of(reply)), token, &text);
	}
	if (ok)
		method_answer_text(call, text.data, text.len);
	else
		method_answer_error(call);
	buf_free(&text);
}

static void on_created(void *arg, struct db_reply *reply)
{
	method_answer_created(arg, reply, args_get(arg, CREATE_TOKEN));
}

bool method_choose_token(struct method_call *call, struct slice wanted, unsigned namespace_text,
						 unsigned token_text, unsigned hash_text)
{
	const char *name = args_get(call, namespace_text);
	char made[TOKEN_MAX_LEN + 1];
	char opened[MAX_NAMESPACE_NAME + 1];
	char hash[TOKEN_HASH_LEN + 1];

	if (wanted.bytes != NULL)
	{
		if (!args_text(call, token_text, "options.token", wanted))
			return false;
		if (call->text.failed)
			return method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
		name = args_get(call, namespace_text); /* the text may have moved */
		/* Its value is a secret, so the message does not repeat it. */
		if (!token_parse(slice_of(args_get(call, token_text)), opened) || strcmp(opened, name) != 0)
			return method_fail(call, ERROR_INVALID_REQUEST,
							   "options.token must be a well-formed token for the namespace");
	}
	else
	{
		token_new(slice_of(name), made);
		args_set(call, token_text, made);
	}
	if (call->text.failed)
		return method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
	token_hash(slice_of(args_get(call, token_text)), hash);
	args_set(call, hash_text, hash);
	return method_has_texts(call);
}

static bool ask_create(struct method_call *call)
{
	const struct db_create_namespace in = {
		.name = args_get(call, CREATE_NAME),
		.description = args_get(call, CREATE_DESCRIPTION),
		.token_hash = args_get(call, CREATE_TOKEN_HASH),
		.metadata = args_get(call, CREATE_METADATA),
		.tags = call->tags,
	};

	return method_asked(call, db_create_namespace(call->db, &in, on_created, call));
}

/*
 * Whether the directory had the namespace for the same place, or for any where none was asked for: there it
 * is made, unless it is there, so that a call that was cut short can be made again.
 */
static bool has_place(struct method_call *call)
{
	struct places *places = call->methods->places;
	struct place *place = places_of(places, args_get(call, CREATE_NAME));
	struct placement placement;

	directory_find(places_directory(places), args_get(call, CREATE_NAME), &placement);
	if (place == NULL || !placement.known ||
		(args_get(call, CREATE_CLUSTER) != NULL && call->db != place->db))
		return false;
	call->db = place->db;
	return true;
}

/* The directory has it: nobody else can have made it elsewhere. */
static void on_entered(void *arg, const struct error *error)
{
	struct method_call *call = arg;

	call->error = *error;
	if (error->code == ERROR_NAMESPACE_EXISTS && has_place(call))
		call->error.code = ERROR_NONE;
	if (call->error.code != ERROR_NONE || !ask_create(call))
		method_answer_error(call);
}

/* Creates it at a place, which the directory is to know before the store does. */
static bool create_at(struct method_call *call, struct slice cluster)
{
	struct places *places = call->methods->places;
	struct place *place = places_own(places);

	if (cluster.bytes != NULL)
	{
		if (!args_name(call, CREATE_CLUSTER, "options.cluster", cluster, MAX_CLUSTER_NAME))
			return false;
		place = places_named(places, args_get(call, CREATE_CLUSTER));
		if (place == NULL)
			return args_reject(call, "options.cluster", cluster,
							   places_directory(places) != NULL ? "the name of a cluster in the directory"
																: "left out: the server has no directory");
	}
	call->db = place->db;
	if (places_enter(places, args_get(call, CREATE_NAME), place, on_entered, call, &call->error))
		return true;
	return call->error.code == ERROR_NONE && ask_create(call);
}

bool method_namespace_create(struct method_call *call)
{
	struct member options[] = {{.name = "description"},
							   {.name = "token"},
							   {.name = "metadata"},
							   {.name = "tags"},
							   {.name = "cluster"}};

	call->tags = false;
	if (!args_name(call, CREATE_NAME, "namespace", call->args[0], MAX_NAMESPACE_NAME) ||
		!args_options(call, call->args[1], options, 5) ||
		!args_boolean(call, "options.tags", options[3].value, &call->tags) ||
		!args_text(call, CREATE_DESCRIPTION, "options.description", options[0].value) ||
		!method_choose_token(call, options[1].value, CREATE_NAME, CREATE_TOKEN, CREATE_TOKEN_HASH))
		return false;
	if (options[2].value.bytes != NULL)
	{
		if (!args_object(call, "options.metadata", options[2].value))
			return false;
		args_set_json(call, CREATE_METADATA, options[2].value);
	}
	return method_has_texts(call) && create_at(call, options[4].value);
}

/* The answer, which was kept; that an entry stays behind harms nothing. */
static void on_taken_out(void *arg, const struct error *error)
{
	struct method_call *call = arg;
	struct method_reply reply = {.npieces = 1};

	if (error->code != ERROR_NONE)
		log_warning("namespace %s is deleted, and still in the directory: %s", args_get(call, DELETE_NAME),
					error->message);
	reply.pieces[0] = method_own_piece(call, DELETE_ANSWER);
	call->done(call->arg, &reply);
}

static void on_deleted(void *arg, struct db_reply *reply)
{
	struct method_call *call = arg;
	struct error error;

	/* Also after a failure: when the connection was lost it may have been carried out. */
	method_forget_tokens(call);
	if (reply->status == DB_OK)
		args_set_json(call, DELETE_ANSWER, db_json_of(reply));
	if (reply->status != DB_OK || call->text.failed ||
		!places_enter(call->methods->places, args_get(call, DELETE_NAME), NULL, on_taken_out, call, &error))
		method_on_value(call, reply);
}

bool method_namespace_delete(struct method_call *call)
{
	return args_name(call, DELETE_NAME, "namespace", call->args[0], MAX_NAMESPACE_NAME) &&
		   method_go_to(call, DELETE_NAME) &&
		   method_asked(call, db_drop_namespace(call->db, args_get(call, DELETE_NAME), on_deleted, call));
}

static void on_limits_set(void *arg, struct db_reply *reply)
{
	method_forget_tokens(arg); /* the limits are kept with them */
	method_on_value(arg, reply);
}

bool method_namespace_set_limits(struct method_call *call)
{
	struct member options[] = {{.name = "requestsPerSecond"}, {.name = "bytesPerSecond"}};
	struct db_set_limits in = {0};

	if (!args_name(call, 0, "namespace", call->args[0], MAX_NAMESPACE_NAME) || !method_go_to(call, 0) ||
		!args_options(call, call->args[1], options, 2) ||
		!args_integer(call, "options.requestsPerSecond", options[0].value, 1, MAX_REQUESTS_PER_SECOND,
					  &in.requests_per_second.value) ||
		!args_integer(call, "options.bytesPerSecond", options[1].value, 1, MAX_BYTES_PER_SECOND,
					  &in.bytes_per_second.value))
		return false;
	in.name = args_get(call, 0);
	in.requests_per_second.is_set = options[0].value.bytes != NULL;
	in.bytes_per_second.is_set = options[1].value.bytes != NULL;
	return method_asked(call, db_set_limits(call->db, &in, on_limits_set, call));
}

bool method_namespace_info(struct method_call *call)
{
	if (!args_name(call, 0, "namespace", call->args[0], MAX_NAMESPACE_NAME))
		return false;
	if (!method_is_administrator(call) && strcmp(args_get(call, 0), call->namespace_name) != 0)
		return method_fail(call, ERROR_AUTH_UNAUTHORIZED, "this token may ask about its own namespace only");
	return method_go_to(call, 0) &&
		   method_asked(call, db_describe_namespace(call->db, args_get(call, 0), method_on_value, call));
}

bool method_namespace_streams(struct method_call *call)
{
	struct member options[] = {{.name = "prefix"}, {.name = "limit"}, {.name = "cursor"}};
	struct db_list_streams in = {.namespace_name = call->namespace_name, .max_rows = DEFAULT_MAX_ROWS};

	if (!args_reading(call, call->args[0], options, 3) ||
		!args_text(call, 0, "options.prefix", options[0].value) ||
		!args_integer(call, "options.limit", options[1].value, 1, MAX_ROWS, &in.max_rows) ||
		!args_text(call, 1, "options.cursor", options[2].value) || !method_has_texts(call))
		return false;
	in.prefix = options[0].value.bytes != NULL ? args_get(call, 0) : "";
	in.after = args_get(call, 1);
	in.reading = method_reading(call);
	return method_asked(call, db_list_streams(call->db, &in, method_on_value, call));
}

bool method_namespace_categories(struct method_call *call)
{
	struct db_head in = {.namespace_name = call->namespace_name};

	if (!args_reading(call, call->args[0], NULL, 0))
		return false;
	in.reading = method_reading(call);
	return method_asked(call, db_list_categories(call->db, &in, method_on_value, call));
}

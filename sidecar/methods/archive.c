/*
 * archive.c: messages.remove, for what an archive has, and ns.purge.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/archive.h"
#include "base/stats.h"
#include "base/uuid.h"
#include "db/calls_bulk.h"
#include "extension/hex.h"
#include "methods/internal.h"

/* ---- messages.remove -------------------------------------------------------------- */

static bool is_uuid(struct slice value)
{
	struct uuid id;

	return json_kind(value) == JSON_STRING && uuid_parse((struct slice){value.bytes + 1, value.len - 2}, &id);
}

static bool is_digest(struct slice value)
{
	if (json_kind(value) != JSON_STRING || value.len != ARCHIVE_SUM_LEN + 2)
		return false;
	for (size_t i = 1; i < value.len - 1; i++)
	{
		if (hex_value(value.bytes[i]) < 0)
			return false;
	}
	return true;
}

/* {"id": .., "sha256": ..}; `field` names it. */
static bool check_message(struct method_call *call, const char *field, struct slice message)
{
	struct member members[] = {{.name = "id"}, {.name = "sha256"}};
	char name[60];

	if (!args_members(call, message, field, members, 2))
		return false;
	snprintf(name, sizeof(name), "%s.id", field);
	if (!is_uuid(members[0].value))
		return args_reject(call, name, members[0].value, "a UUID");
	snprintf(name, sizeof(name), "%s.sha256", field);
	return is_digest(members[1].value) || args_reject(call, name, members[1].value, "64 hexadecimal digits");
}

static bool check_messages(struct method_call *call, struct slice messages)
{
	struct json_iterator iterator;
	struct slice message;
	unsigned count = 0;

	if (json_kind(messages) != JSON_ARRAY)
		return args_reject(call, "messages", messages, "an array");
	json_iterate(&iterator, messages);
	while (json_next_element(&iterator, &message))
	{
		char field[40];

		snprintf(field, sizeof(field), "messages[%u]", count);
		if (!check_message(call, field, message))
			return false;
		if (++count > MAX_STREAMS)
			return method_fail(call, ERROR_INVALID_REQUEST,
							   "messages has more than " LIMIT_TEXT(MAX_STREAMS));
	}
	return true;
}

static void on_removed(void *arg, struct db_reply *reply)
{
	struct method_call *call = arg;

	if (reply->status == DB_OK)
		stats_add(&call->methods->stats->removed[REMOVED_BY_ARCHIVE], method_count_removed(reply));
	method_on_value(call, reply);
}

bool method_messages_remove(struct method_call *call)
{
	struct member options[] = {{.name = "force"}};
	struct db_remove_archived in = {.namespace_name = call->namespace_name};

	if (!check_messages(call, call->args[0]) || !args_options(call, call->args[1], options, 1) ||
		!args_boolean(call, "options.force", options[0].value, &in.forced))
		return false;
	args_set_json(call, 0, call->args[0]);
	if (!method_has_texts(call))
		return false;
	in.messages = args_get(call, 0);
	return method_asked(call, db_remove_archived(call->db, &in, on_removed, call));
}

/* ---- ns.purge --------------------------------------------------------------------- */

/* One statement after the other, each by itself: VACUUM is no part of a transaction. */
struct purge
{
	struct method_call *call;
	struct db_purge in;
	struct buf statements; /* each with its NUL */
	size_t at;			   /* of the one that runs */
	struct buf done, left; /* JSON strings with commas between */
};

static void add_text(struct buf *out, const char *text)
{
	if (out->len > 0)
		buf_add_str(out, ",");
	json_add_string(out, text, strlen(text));
}

static void purge_free(struct purge *purge)
{
	buf_free(&purge->statements);
	buf_free(&purge->done);
	buf_free(&purge->left);
	free(purge);
}

static void purge_fail(struct purge *purge, const struct db_reply *reply)
{
	if (reply != NULL)
		method_fail_status(purge->call, reply->status, &reply->error);
	method_answer_error(purge->call);
	purge_free(purge);
}

static void on_left(void *arg, struct db_reply *reply)
{
	struct purge *purge = arg;
	struct buf answer = {0};

	if (reply->status != DB_OK)
	{
		purge_fail(purge, reply);
		return;
	}
	for (unsigned i = 0; i < db_rows_of(reply); i++)
		add_text(&purge->left, db_text_of(reply, i));
	buf_printf(&answer, "{\"done\":[%.*s],\"left\":[%.*s]}", (int)purge->done.len,
			   purge->done.data != NULL ? purge->done.data : "", (int)purge->left.len,
			   purge->left.data != NULL ? purge->left.data : "");
	if (answer.failed || purge->done.failed || purge->left.failed)
	{
		method_fail(purge->call, ERROR_INTERNAL_ERROR, "out of memory");
		method_answer_error(purge->call);
	}
	else
		method_answer_text(purge->call, answer.data, answer.len);
	buf_free(&answer);
	purge_free(purge);
}

static void on_run(void *arg, struct db_reply *reply);

/* Runs the next statement, or asks what is left. */
static void go_on(struct purge *purge)
{
	struct db *db = purge->call->db;
	bool asked = purge->at < purge->statements.len
					 ? db_run(db, purge->statements.data + purge->at, on_run, purge)
					 : db_purge_left(db, &purge->in, on_left, purge);

	if (!asked)
	{
		method_asked(purge->call, false);
		purge_fail(purge, NULL);
	}
}

/* A statement that failed leaves something: the others go on. */
static void on_run(void *arg, struct db_reply *reply)
{
	struct purge *purge = arg;
	const char *statement = purge->statements.data + purge->at;

	if (reply->status == DB_OK)
		add_text(&purge->done, statement);
	else if (reply->status == DB_ERROR)
	{
		struct buf text = {0};

		buf_printf(&text, "what \"%s\" is for, which failed: %s", statement, reply->error.message);
		buf_add(&text, "", 1);
		add_text(&purge->left, text.failed ? "" : text.data);
		buf_free(&text);
	}
	else
	{
		purge_fail(purge, reply);
		return;
	}
	purge->at += strlen(statement) + 1;
	go_on(purge);
}

static void on_statements(void *arg, struct db_reply *reply)
{
	struct purge *purge = arg;

	if (reply->status != DB_OK)
	{
		purge_fail(purge, reply);
		return;
	}
	for (unsigned i = 0; i < db_rows_of(reply); i++)
		buf_add(&purge->statements, db_text_of(reply, i), strlen(db_text_of(reply, i)) + 1);
	if (!purge->statements.failed)
	{
		go_on(purge);
		return;
	}
	method_fail(purge->call, ERROR_INTERNAL_ERROR, "out of memory");
	purge_fail(purge, NULL);
}

bool method_namespace_purge(struct method_call *call)
{
	struct member options[] = {{.name = "full"}};
	struct purge *purge;
	bool full = false;

	if (!args_name(call, 0, "namespace", call->args[0], MAX_NAMESPACE_NAME) || !method_go_to(call, 0) ||
		!args_options(call, call->args[1], options, 1) ||
		!args_boolean(call, "options.full", options[0].value, &full) || !method_has_texts(call))
		return false;
	purge = calloc(1, sizeof(*purge));
	if (purge == NULL)
		return method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
	*purge = (struct purge){.call = call, .in = {.namespace_name = args_get(call, 0), .full = full}};
	if (db_purge_statements(call->db, &purge->in, on_statements, purge))
		return true;
	purge_free(purge);
	return method_asked(call, false);
}

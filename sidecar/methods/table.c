/*
 * table.c: the table of methods, which token may call them, their document, and the life of a call.
 */
#include <string.h>

#include "access/quota.h"
#include "base/clock.h"
#include "base/stats.h"
#include "methods/internal.h"
#include "methods/methods.h"

static bool method_discover(struct method_call *call);

/* The most called first. */
static const struct method all[] = {
	{"stream.write", RIGHT_APPEND, false, {"stream", "message", "options"}, method_stream_write},
	{"stream.get", RIGHT_READ, false, {"stream", "options"}, method_stream_get},
	{"category.get", RIGHT_READ, false, {"category", "options"}, method_category_get},
	{"query.get", RIGHT_READ, true, {"query", "options"}, method_query_get},
	{"stream.last", RIGHT_READ, false, {"stream", "options"}, method_stream_last},
	{"stream.version", RIGHT_READ, false, {"stream", "options"}, method_stream_version},
	{"stream.head", RIGHT_READ, true, {"options"}, method_stream_head},
	{"stream.append", RIGHT_APPEND, true, {"stream", "messages", "options"}, method_stream_append},
	{"streams.append", RIGHT_APPEND, true, {"streams", "condition"}, method_streams_append},
	{"consumer.next", RIGHT_READ, true, {"consumer", "options"}, method_consumer_next},
	{"consumer.settle", RIGHT_READ, true, {"consumer", "options"}, method_consumer},
	{"consumer.extend", RIGHT_READ, true, {"consumer", "options"}, method_consumer},
	{"consumer.create", RIGHT_APPEND, true, {"consumer", "options"}, method_consumer},
	{"consumer.delete", RIGHT_APPEND, true, {"consumer"}, method_consumer},
	{"consumer.list", RIGHT_READ, true, {NULL}, method_consumer_list},
	{"consumer.info", RIGHT_READ, true, {"consumer"}, method_consumer_read},
	{"consumer.move", RIGHT_APPEND, true, {"consumer", "options"}, method_consumer},
	{"consumer.streams", RIGHT_READ, true, {"consumer", "options"}, method_consumer_read},
	{"consumer.claims", RIGHT_READ, true, {"consumer", "options"}, method_consumer_read},
	{"consumer.unpark", RIGHT_APPEND, true, {"consumer", "options"}, method_consumer},
	{"consumer.skip", RIGHT_APPEND, true, {"consumer", "options"}, method_consumer},
	{"consumer.reset", RIGHT_APPEND, true, {"consumer", "options"}, method_consumer},
	{"consumer.pause", RIGHT_APPEND, true, {"consumer"}, method_consumer},
	{"consumer.resume", RIGHT_APPEND, true, {"consumer"}, method_consumer},
	{"stream.truncate", RIGHT_REMOVE, true, {"stream", "options"}, method_stream_removal},
	{"stream.remove", RIGHT_REMOVE, true, {"stream", "options"}, method_stream_removal},
	{"stream.close", RIGHT_REMOVE, true, {"stream", "options"}, method_stream_removal},
	{"stream.reopen", RIGHT_ADMINISTER, true, {"stream"}, method_stream_removal},
	{"ns.create", RIGHT_ADMINISTRATOR, false, {"namespace", "options"}, method_namespace_create},
	{"ns.delete", RIGHT_ADMINISTRATOR, false, {"namespace"}, method_namespace_delete},
	{"ns.setLimits", RIGHT_ADMINISTRATOR, true, {"namespace", "options"}, method_namespace_set_limits},
	{"ns.setRetention",
	 RIGHT_REMOVE,
	 true,
	 {"namespace", "category", "options"},
	 method_namespace_set_retention},
	{"ns.retention", RIGHT_READ, true, {"namespace"}, method_namespace_retention},
	{"ns.sweep", RIGHT_REMOVE, true, {"namespace", "options"}, method_namespace_sweep},
	{"ns.removals", RIGHT_READ, true, {"namespace", "options"}, method_namespace_retention},
	{"ns.list", RIGHT_ADMINISTRATOR, false, {NULL}, method_namespace_list},
	{"ns.tokens", RIGHT_ADMINISTER, true, {"namespace"}, method_tokens_list},
	{"ns.createToken", RIGHT_ADMINISTER, true, {"namespace", "name", "options"}, method_token_create},
	{"ns.revokeToken", RIGHT_ADMINISTER, true, {"namespace", "name"}, method_token_revoke},
	{"ns.info", RIGHT_READ, false, {"namespace"}, method_namespace_info},
	{"ns.streams", RIGHT_READ, false, {"options"}, method_namespace_streams},
	{"ns.categories", RIGHT_READ, false, {"options"}, method_namespace_categories},
	{"message.get", RIGHT_READ, true, {"id", "options"}, method_message_get},
	{"message.redact", RIGHT_REMOVE, true, {"which", "options"}, method_message_redact},
	{"messages.remove", RIGHT_REMOVE, true, {"messages", "options"}, method_messages_remove},
	{"ns.purge", RIGHT_ADMINISTRATOR, true, {"namespace", "options"}, method_namespace_purge},
	{"position.at", RIGHT_READ, true, {"time", "options"}, method_position_at},
	{"streams.recent", RIGHT_READ, true, {"options"}, method_streams_recent},
	{"messages.search", RIGHT_READ, true, {"options"}, method_messages_search},
	{"ns.types", RIGHT_READ, true, {"options"}, method_namespace_types},
	{"sys.stats", RIGHT_READ, true, {NULL}, method_system_stats},
	{"sys.blocked", RIGHT_ADMINISTRATOR, true, {NULL}, method_system_blocked},
	{"sys.connections", RIGHT_ADMINISTRATOR, true, {NULL}, method_system_connections},
	{"sys.version", RIGHT_NONE, false, {NULL}, method_system_version},
	{"sys.health", RIGHT_NONE, false, {NULL}, method_system_health},
	{"rpc.discover", RIGHT_NONE, true, {NULL}, method_discover},
};

#define N_METHODS (sizeof(all) / sizeof(all[0]))
#define UNKNOWN (STATS_METHODS - 1)

_Static_assert(N_METHODS <= UNKNOWN, "STATS_METHODS");
_Static_assert(ERROR_CODES <= STATS_CODES, "STATS_CODES");

const struct method *method_find(const struct methods *methods, struct slice name)
{
	for (size_t i = 0; i < N_METHODS; i++)
	{
		if (json_string_is(name, all[i].name))
			return &all[i];
	}
	stats_add(&methods->stats->calls[UNKNOWN][ERROR_METHOD_NOT_FOUND], 1);
	return NULL;
}

const char *method_name(const struct method *method)
{
	return method->name;
}

const char *method_counted_name(unsigned index)
{
	if (index < N_METHODS)
		return all[index].name;
	return index == UNKNOWN ? "unknown" : NULL;
}

int method_argument(const struct method *method, struct slice key)
{
	for (int i = 0; i < METHOD_MAX_ARGS && method->arguments[i] != NULL; i++)
	{
		if (json_string_is(key, method->arguments[i]))
			return i;
	}
	return -1;
}

/* ---- the document ------------------------------------------------------------ */

struct slice methods_document(struct methods *methods)
{
	struct buf *document = &methods->document;

	if (document->len == 0)
		discover_write(document, all, N_METHODS);
	if (document->failed)
		buf_free(document);
	return (struct slice){document->data, document->len};
}

static bool method_discover(struct method_call *call)
{
	struct slice document = methods_document(call->methods);

	if (document.bytes == NULL)
		return method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
	method_answer_text(call, document.bytes, document.len);
	return true;
}

void methods_free(struct methods *methods)
{
	buf_free(&methods->document);
}

/* ---- the life of a call -------------------------------------------------------- */

/* For the error about an argument that the method does not have. */
static bool refuse_stray(struct method_call *call)
{
	const struct method *method = call->method;
	struct member arguments[METHOD_MAX_ARGS];
	unsigned n = 0;

	for (; n < METHOD_MAX_ARGS && method->arguments[n] != NULL; n++)
		arguments[n] = (struct member){.name = method->arguments[n]};
	return args_unknown_key(call, "params", call->stray, arguments, n);
}

static bool take_quota(struct method_call *call)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < METHOD_MAX_ARGS; i++)
		bytes += call->args[i].len;
	return quota_grants(call->quota, bytes, &call->error);
}

static void refuse_right(struct method_call *call)
{
	if (call->method->right == RIGHT_ADMINISTRATOR)
		method_fail(call, ERROR_AUTH_UNAUTHORIZED, "%s needs the administrator's token, that of namespace %s",
					call->method->name, DEFAULT_NAMESPACE);
	else
		right_missing(&call->error, call->method->name, call->method->right);
}

void method_charge(struct method_call *call, const struct method_reply *reply)
{
	size_t bytes = 0;

	if (call->quota == NULL || reply->error != NULL)
		return;
	for (unsigned i = 0; i < reply->npieces; i++)
		bytes += reply->pieces[i].len;
	quota_charge(call->quota, bytes);
}

/* What its arguments set. */
static void reset(struct method_call *call)
{
	call->error.code = ERROR_NONE;
	call->inside = NULL;
	call->stream_index = call->message_index = call->about = -1;
	buf_clear(&call->text);
	call->messages_left = call->size = call->min_position = 0;
	call->seat = DB_ANYWHERE;
	call->whole = call->has_seen = call->by_global = call->any = call->backward = call->placed = false;
	for (unsigned i = 0; i < METHOD_MAX_TEXTS; i++)
		call->texts[i] = -1;
}

/* From its start, or from where a reply has come. */
static void run(struct method_call *call)
{
	call->error.code = ERROR_NONE;
	if (call->begun)
	{
		method_next_page(call);
		return;
	}
	reset(call);
	if ((call->stray.bytes != NULL && !refuse_stray(call)) || !call->method->run(call))
		method_answer_error(call);
}

void method_start(struct method_call *call)
{
	call->db = call->place->db;
	call->started_us = clock_us();
	call->action = strchr(call->method->name, '.') + 1;
	call->text = (struct buf){0};
	call->begun = call->again = call->has_request = false;
	call->waiting = NULL;
	call->wait.pause = NULL;
	call->run = run;
	call->deadline_ms = 0;
	reset(call);
	if ((call->rights & call->method->right) != call->method->right)
	{
		refuse_right(call);
		method_answer_error(call);
		return;
	}
	/* The administrator's methods have none: one of them raises it. */
	if (call->quota != NULL && call->method->right != RIGHT_ADMINISTRATOR && !take_quota(call))
	{
		method_answer_error(call);
		return;
	}
	call->strict = call->strict || call->method->ours;
	if (!method_waits(call))
		run(call);
}

void method_resume(struct method_call *call)
{
	method_next_page(call);
}

void method_abandon(struct method_call *call)
{
	if (!method_leave(call) && call->waiting != NULL)
		consumers_abandon(call);
}

void method_end(struct method_call *call)
{
	struct stats *stats = call->methods->stats;
	size_t index = (size_t)(call->method - all);

	stats_add(&stats->calls[index][call->error.code], 1);
	stats_observe(&stats->call_us[index], &stats_durations, clock_span(call->started_us, clock_us()));
	buf_free(&call->text);
}

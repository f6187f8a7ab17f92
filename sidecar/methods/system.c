/*
 * system.c: sys.*.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/process_view.h"
#include "methods/internal.h"
#include "base/version.h"

bool method_system_version(struct method_call *call)
{
	static const char text[] = "\"" MILLRACE_VERSION "\"";

	method_answer_text(call, text, sizeof(text) - 1);
	return true;
}

/* What Postgres says of the namespace, and behind it what we say of ourselves. */
static void on_stats(void *arg, struct db_reply *reply)
{
	struct method_call *call = arg;
	const struct process_view *process = call->methods->process;
	struct slice text;
	struct buf answer = {0};

	if (reply->status != DB_OK)
	{
		method_fail_status(call, reply->status, &reply->error);
		method_answer_error(call);
		return;
	}
	text = db_json_of(reply);
	buf_add(&answer, text.bytes, text.len > 0 ? text.len - 1 : 0);
	buf_printf(&answer, ",\"version\":\"%s\",\"uptimeMs\":%" PRIu64 ",\"workers\":%u}", MILLRACE_VERSION,
			   clock_span(process->started_ms, clock_ms()), process->nworkers);
	if (!answer.failed)
		method_answer_text(call, answer.data, answer.len);
	else
	{
		method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
		method_answer_error(call);
	}
	buf_free(&answer);
}

bool method_system_stats(struct method_call *call)
{
	return method_asked(call, db_namespace_stats(call->db, call->namespace_name, on_stats, call));
}

bool method_system_blocked(struct method_call *call)
{
	return method_asked(call, db_blocked(call->db, method_on_value, call));
}

static bool fail_to_ask(struct method_call *call)
{
	return method_fail(call, ERROR_INTERNAL_ERROR, "out of memory or descriptors, or the server stops");
}

static void on_connections(void *arg, struct slice json)
{
	struct method_call *call = arg;

	if (json.bytes != NULL)
		method_answer_text(call, json.bytes, json.len);
	else
	{
		fail_to_ask(call);
		method_answer_error(call);
	}
}

bool method_system_connections(struct method_call *call)
{
	const struct process_view *process = call->methods->process;

	return process->list_connections(process->arg, on_connections, call) || fail_to_ask(call);
}

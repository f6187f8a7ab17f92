/*
 * call.c: what the methods share of a call: its parameters, its answers, and the statement that it sends.
 */
#include "methods/methods.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "methods/internal.h"

/* Results below this are copied if the socket is full; larger ones are kept whole until it is not. */
#define LARGE_RESULT 16384

bool method_is_administrator(const struct method_call *call)
{
	return (call->rights & RIGHT_ADMINISTRATOR) != 0;
}

const char *args_get(const struct method_call *call, unsigned i)
{
	return call->texts[i] < 0 ? NULL : call->text.data + call->texts[i];
}

/* ---- answers --------------------------------------------------------------- */

bool method_fail(struct method_call *call, enum error_code code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	call->error.code = code;
	call->error.details[0] = '\0';
	vsnprintf(call->error.message, sizeof(call->error.message), format, args);
	va_end(args);
	return false;
}

/* Of its own errors the extension writes the details, which are JSON, as those of the error in SQL. */
static void take_details(struct error *error, const struct db_error *raised)
{
	struct buf text = {0};

	if (strncmp(raised->sqlstate, SQLSTATE_CLASS_OURS, strlen(SQLSTATE_CLASS_OURS)) != 0 ||
		raised->detail[0] != '{')
		return;
	buf_add_str(&text, raised->detail);
	error_set_details(error, &text);
	buf_free(&text);
}

bool method_fail_status(struct method_call *call, enum db_status status, const struct db_error *error)
{
	switch (status)
	{
		case DB_ERROR:
			error_from_sqlstate(&call->error, error->sqlstate, error->message, error->hint, error->pid);
			take_details(&call->error, error);
			return false;
		case DB_NOT_YET:
			method_fail(call, ERROR_NOT_YET_REPLICATED, "%s", error->message);
			snprintf(call->error.details, sizeof(call->error.details), "%s", error->detail);
			return false;
		case DB_OVERLOADED:
			return method_fail(call, ERROR_OVERLOADED, "too many requests are waiting");
		case DB_GONE:
		case DB_UNAVAILABLE:
			return method_fail(call, ERROR_BACKEND_UNAVAILABLE, "%s", db_unavailable(call->db));
		case DB_OK:
			break;
	}
	return method_fail(call, ERROR_INTERNAL_ERROR, "an error without a reason");
}

void method_answer_error(struct method_call *call)
{
	struct method_reply reply = {.error = &call->error};

	if (!method_is_made_again(call))
		call->done(call->arg, &reply);
}

void method_answer_text(struct method_call *call, const char *bytes, size_t len)
{
	struct method_reply reply = {.npieces = 1};

	reply.pieces[0] = (struct piece){.bytes = bytes, .len = len};
	call->done(call->arg, &reply);
}

/* ---- statements -------------------------------------------------------------- */

bool method_has_texts(struct method_call *call)
{
	return !call->text.failed || method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
}

struct db_reading method_reading(const struct method_call *call)
{
	return (struct db_reading){.seat = call->seat, .min_position = call->min_position};
}

bool method_asked(struct method_call *call, bool asked)
{
	return asked || method_fail_status(call, DB_OVERLOADED, NULL);
}

struct piece method_piece(struct db_reply *reply, struct slice text)
{
	if (text.len < LARGE_RESULT)
		return (struct piece){.bytes = text.bytes, .len = text.len};
	return db_take(reply, text);
}

struct piece method_own_piece(struct method_call *call, unsigned text)
{
	struct piece piece = piece_of(args_get(call, text));

	piece.release = free;
	piece.owner = call->text.data;
	call->text = (struct buf){0};
	return piece;
}

void method_on_value(void *arg, struct db_reply *reply)
{
	struct method_call *call = arg;
	struct method_reply answer = {.npieces = 1};
	struct slice text;

	if (reply->status != DB_OK)
	{
		method_fail_status(call, reply->status, &reply->error);
		method_answer_error(call);
		return;
	}
	text = db_json_of(reply);
	answer.pieces[0] = text.bytes == NULL ? piece_of("null") : method_piece(reply, text);
	call->done(call->arg, &answer);
}

/*
 * errors.c: the table of codes, the table of SQLSTATEs, and the writers of error bodies.
 */
#include "base/errors.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

#include "extension/protocol.h"

static const struct
{
	const char *name;
	int status;
	enum jsonrpc_code jsonrpc;
} codes[ERROR_CODES] = {
	[ERROR_NONE] = {"NONE", 200, JSONRPC_INTERNAL_ERROR},
	[ERROR_INVALID_REQUEST] = {"INVALID_REQUEST", 400, JSONRPC_INVALID_PARAMS},
	[ERROR_METHOD_NOT_FOUND] = {"METHOD_NOT_FOUND", 404, JSONRPC_METHOD_NOT_FOUND},
	[ERROR_NOT_FOUND] = {"NOT_FOUND", 404, JSONRPC_OURS},
	[ERROR_AUTH_REQUIRED] = {"AUTH_REQUIRED", 401, JSONRPC_OURS},
	[ERROR_AUTH_INVALID_TOKEN] = {"AUTH_INVALID_TOKEN", 401, JSONRPC_OURS},
	[ERROR_AUTH_UNAUTHORIZED] = {"AUTH_UNAUTHORIZED", 403, JSONRPC_OURS},
	[ERROR_PAYLOAD_TOO_LARGE] = {"PAYLOAD_TOO_LARGE", 413, JSONRPC_OURS},
	[ERROR_BACKEND_ERROR] = {"BACKEND_ERROR", 500, JSONRPC_OURS},
	[ERROR_STREAM_VERSION_CONFLICT] = {"STREAM_VERSION_CONFLICT", 409, JSONRPC_OURS},
	[ERROR_MESSAGE_ID_CONFLICT] = {"MESSAGE_ID_CONFLICT", 409, JSONRPC_OURS},
	[ERROR_APPEND_CONDITION_FAILED] = {"APPEND_CONDITION_FAILED", 409, JSONRPC_OURS},
	[ERROR_STREAM_CLOSED] = {"STREAM_CLOSED", 410, JSONRPC_OURS},
	[ERROR_RESERVED_TYPE] = {"RESERVED_TYPE", 400, JSONRPC_OURS},
	[ERROR_NAMESPACE_EXISTS] = {"NAMESPACE_EXISTS", 409, JSONRPC_OURS},
	[ERROR_NAMESPACE_NOT_FOUND] = {"NAMESPACE_NOT_FOUND", 404, JSONRPC_OURS},
	[ERROR_CONSUMER_NOT_FOUND] = {"CONSUMER_NOT_FOUND", 404, JSONRPC_OURS},
	[ERROR_CONSUMER_EXISTS] = {"CONSUMER_EXISTS", 409, JSONRPC_OURS},
	[ERROR_CONSUMER_MOVED] = {"CONSUMER_MOVED", 409, JSONRPC_OURS},
	[ERROR_CLAIM_LOST] = {"CLAIM_LOST", 409, JSONRPC_OURS},
	[ERROR_TOKEN_EXISTS] = {"TOKEN_EXISTS", 409, JSONRPC_OURS},
	[ERROR_TOKEN_NOT_FOUND] = {"TOKEN_NOT_FOUND", 404, JSONRPC_OURS},
	[ERROR_POSITION_REMOVED] = {"POSITION_REMOVED", 410, JSONRPC_OURS},
	[ERROR_RETENTION_HELD] = {"RETENTION_HELD", 409, JSONRPC_OURS},
	[ERROR_NAMESPACE_SEALED] = {"NAMESPACE_SEALED", 503, JSONRPC_OURS},
	[ERROR_NAMESPACE_MOVED] = {"NAMESPACE_MOVED", 421, JSONRPC_OURS},
	[ERROR_RATE_LIMITED] = {"RATE_LIMITED", 429, JSONRPC_OURS},
	[ERROR_NOT_YET_REPLICATED] = {"NOT_YET_REPLICATED", 503, JSONRPC_OURS},
	[ERROR_OVERLOADED] = {"OVERLOADED", 503, JSONRPC_OURS},
	[ERROR_BACKEND_UNAVAILABLE] = {"BACKEND_UNAVAILABLE", 503, JSONRPC_OURS},
	[ERROR_INTERNAL_ERROR] = {"INTERNAL_ERROR", 500, JSONRPC_INTERNAL_ERROR},
};

/* The first entry whose text begins the SQLSTATE counts; what is not here is a BACKEND_ERROR. */
static const struct
{
	const char *sqlstate;
	enum error_code code;
} sqlstates[] = {
	{SQLSTATE_WRONG_EXPECTED_VERSION, ERROR_STREAM_VERSION_CONFLICT},
	{SQLSTATE_MESSAGE_ID_CONFLICT, ERROR_MESSAGE_ID_CONFLICT},
	{SQLSTATE_APPEND_CONDITION_FAILED, ERROR_APPEND_CONDITION_FAILED},
	{SQLSTATE_NO_TAG_INDEX, ERROR_INVALID_REQUEST},
	{SQLSTATE_STREAM_CLOSED, ERROR_STREAM_CLOSED},
	{SQLSTATE_RESERVED_TYPE, ERROR_RESERVED_TYPE},
	{SQLSTATE_MESSAGE_NOT_FOUND, ERROR_NOT_FOUND},
	{SQLSTATE_NAMESPACE_NOT_FOUND, ERROR_NAMESPACE_NOT_FOUND},
	{SQLSTATE_NAMESPACE_EXISTS, ERROR_NAMESPACE_EXISTS},
	{SQLSTATE_NULL_ARGUMENT, ERROR_INVALID_REQUEST},
	{SQLSTATE_EMPTY_NAME, ERROR_INVALID_REQUEST},
	{SQLSTATE_TOO_LONG, ERROR_INVALID_REQUEST},
	{SQLSTATE_NOT_AN_OBJECT, ERROR_INVALID_REQUEST},
	{SQLSTATE_OUT_OF_RANGE, ERROR_INVALID_REQUEST},
	{SQLSTATE_UNUSABLE_TABLE, ERROR_BACKEND_ERROR},
	{SQLSTATE_MALFORMED_BATCH, ERROR_INTERNAL_ERROR},
	{SQLSTATE_DEFAULT_NAMESPACE, ERROR_INVALID_REQUEST},
	{SQLSTATE_CLAIM_LOST, ERROR_CLAIM_LOST},
	{SQLSTATE_CONSUMER_NOT_FOUND, ERROR_CONSUMER_NOT_FOUND},
	{SQLSTATE_CONSUMER_EXISTS, ERROR_CONSUMER_EXISTS},
	{SQLSTATE_CONSUMER_MOVED, ERROR_CONSUMER_MOVED},
	{SQLSTATE_TOKEN_EXISTS, ERROR_TOKEN_EXISTS},
	{SQLSTATE_TOKEN_NOT_FOUND, ERROR_TOKEN_NOT_FOUND},
	{SQLSTATE_POSITION_REMOVED, ERROR_POSITION_REMOVED},
	{SQLSTATE_RETENTION_HELD, ERROR_RETENTION_HELD},
	{SQLSTATE_NAMESPACE_SEALED, ERROR_NAMESPACE_SEALED},
	{SQLSTATE_NAMESPACE_MOVED, ERROR_NAMESPACE_MOVED},
	{SQLSTATE_INVALID_TEXT_REPRESENTATION, ERROR_INVALID_REQUEST},
	{SQLSTATE_UNTRANSLATABLE_CHARACTER, ERROR_INVALID_REQUEST},
	{SQLSTATE_INVALID_PARAMETER_VALUE, ERROR_INVALID_REQUEST},
	{SQLSTATE_NUMERIC_VALUE_OUT_OF_RANGE, ERROR_INVALID_REQUEST},
	{SQLSTATE_PROGRAM_LIMIT_EXCEEDED, ERROR_INVALID_REQUEST},
	{SQLSTATE_STATEMENT_TOO_COMPLEX, ERROR_INVALID_REQUEST},
	{SQLSTATE_CLASS_SHUTDOWN, ERROR_BACKEND_UNAVAILABLE},
	{SQLSTATE_CLASS_CONNECTION, ERROR_BACKEND_UNAVAILABLE},
	{SQLSTATE_CLASS_RESOURCES, ERROR_BACKEND_UNAVAILABLE},
	{SQLSTATE_SERIALIZATION_FAILURE, ERROR_BACKEND_UNAVAILABLE},
	{SQLSTATE_DEADLOCK, ERROR_BACKEND_UNAVAILABLE},
	{SQLSTATE_LOCK_NOT_AVAILABLE, ERROR_BACKEND_UNAVAILABLE},
	{SQLSTATE_READ_ONLY_TRANSACTION, ERROR_BACKEND_UNAVAILABLE},
};

void error_set(struct error *error, enum error_code code, const char *format, ...)
{
	va_list args;

	error->code = code;
	error->details[0] = '\0';
	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
}

void error_set_details(struct error *error, const struct buf *text)
{
	error->details[0] = '\0';
	if (text->failed || text->len >= sizeof(error->details))
		return;
	memcpy(error->details, text->data, text->len);
	error->details[text->len] = '\0';
}

/*
 * For the operator of the database, where the failure is the database's.  In other errors a hint speaks of
 * SQL, which a client of ours has not used, so it is left out.
 */
static void add_hint(struct error *error, const char *sqlstate, const char *hint, int pid)
{
	struct buf text = {0};

	if (error->code != ERROR_BACKEND_ERROR && error->code != ERROR_INTERNAL_ERROR)
		return;
	buf_printf(&text, "{\"sqlstate\":\"%s\",\"pid\":%d", sqlstate, pid);
	if (hint[0] != '\0')
	{
		buf_add_str(&text, ",\"hint\":");
		json_add_string(&text, hint, strlen(hint));
	}
	buf_add_str(&text, "}");
	error_set_details(error, &text);
	buf_free(&text);
}

void error_from_sqlstate(struct error *error, const char *sqlstate, const char *message, const char *hint,
						 int pid)
{
	enum error_code code = ERROR_BACKEND_ERROR;

	for (size_t i = 0; i < sizeof(sqlstates) / sizeof(sqlstates[0]); i++)
	{
		if (strncmp(sqlstate, sqlstates[i].sqlstate, strlen(sqlstates[i].sqlstate)) == 0)
		{
			code = sqlstates[i].code;
			break;
		}
	}
	error_set(error, code, "%s", message[0] != '\0' ? message : error_code_name(code));
	if (strcmp(sqlstate, SQLSTATE_NO_TAG_INDEX) == 0 && hint[0] != '\0')
		error_set(error, code, "%s: %s", message, hint);
	add_hint(error, sqlstate, hint, pid);
}

void error_set_versions(struct error *error, int64_t expected, int64_t actual)
{
	snprintf(error->details, sizeof(error->details), "{\"expected\":%" PRId64 ",\"actual\":%" PRId64 "}",
			 expected, actual);
}

void error_set_match(struct error *error, int64_t after, int64_t position, const char *stream,
					 const char *type)
{
	struct buf text = {0};

	buf_printf(&text, "{\"after\":%" PRId64 ",\"position\":%" PRId64 ",\"stream\":", after, position);
	json_add_string(&text, stream, strlen(stream));
	buf_add_str(&text, ",\"type\":");
	json_add_string(&text, type, strlen(type));
	buf_add_str(&text, "}");
	if (!text.failed && text.len < sizeof(error->details))
		error_set_details(error, &text);
	else
		snprintf(error->details, sizeof(error->details), "{\"after\":%" PRId64 ",\"position\":%" PRId64 "}",
				 after, position);
	buf_free(&text);
}

const char *error_code_name(enum error_code code)
{
	return codes[code].name;
}

int error_status(enum error_code code)
{
	return codes[code].status;
}

unsigned error_retry_after(const struct error *error)
{
	if (error->code == ERROR_RATE_LIMITED)
		return error->retry_after;
	return codes[error->code].status == 503 ? 1 : 0;
}

void error_write_body(struct buf *out, const struct error *error)
{
	buf_printf(out, "{\"error\":{\"code\":\"%s\",\"message\":", error_code_name(error->code));
	json_add_string(out, error->message, strlen(error->message));
	if (error->details[0] != '\0')
	{
		buf_add_str(out, ",\"details\":");
		buf_add_str(out, error->details);
	}
	buf_add_str(out, "}}");
}

void error_write_jsonrpc(struct buf *out, const struct error *error, struct slice id)
{
	buf_printf(out,
			   "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":%d,\"message\":", (int)codes[error->code].jsonrpc);
	json_add_string(out, error->message, strlen(error->message));
	buf_printf(out, ",\"data\":{\"code\":\"%s\"", error_code_name(error->code));
	if (error->details[0] != '\0')
	{
		buf_add_str(out, ",\"details\":");
		buf_add_str(out, error->details);
	}
	buf_add_str(out, "}},\"id\":");
	buf_add(out, id.bytes, id.len);
	buf_add_str(out, "}");
}

void error_write_jsonrpc_plain(struct buf *out, enum jsonrpc_code code, const char *message, struct slice id)
{
	buf_printf(out, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":%d,\"message\":", (int)code);
	json_add_string(out, message, strlen(message));
	buf_add_str(out, "},\"id\":");
	buf_add(out, id.bytes, id.len);
	buf_add_str(out, "}");
}

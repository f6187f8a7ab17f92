/*
 * errors.c: the table of codes, the table of SQLSTATEs, and the writers of error bodies.
 */
#include "base/errors.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

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
	[ERROR_NAMESPACE_EXISTS] = {"NAMESPACE_EXISTS", 409, JSONRPC_OURS},
	[ERROR_NAMESPACE_NOT_FOUND] = {"NAMESPACE_NOT_FOUND", 404, JSONRPC_OURS},
	[ERROR_RATE_LIMITED] = {"RATE_LIMITED", 429, JSONRPC_OURS},
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
	{"MR001", ERROR_STREAM_VERSION_CONFLICT}, {"MR002", ERROR_MESSAGE_ID_CONFLICT},
	{"MR003", ERROR_NAMESPACE_NOT_FOUND},	  {"MR004", ERROR_NAMESPACE_EXISTS},
	{"MR005", ERROR_INVALID_REQUEST},	  /* an argument is NULL */
	{"MR006", ERROR_INVALID_REQUEST},	  /* an empty name */
	{"MR007", ERROR_INVALID_REQUEST},	  /* a value is too long */
	{"MR008", ERROR_INVALID_REQUEST},	  /* data or metadata is not an object */
	{"MR009", ERROR_INVALID_REQUEST},	  /* an argument is out of range */
	{"MR010", ERROR_BACKEND_ERROR},		  /* the namespace's table is not usable */
	{"MR011", ERROR_INTERNAL_ERROR},	  /* malformed batch */
	{"MR012", ERROR_INVALID_REQUEST},	  /* namespace default can't be dropped */
	{"22P02", ERROR_INVALID_REQUEST},	  /* invalid text representation */
	{"22P05", ERROR_INVALID_REQUEST},	  /* untranslatable character */
	{"22023", ERROR_INVALID_REQUEST},	  /* invalid parameter value */
	{"22003", ERROR_INVALID_REQUEST},	  /* numeric value out of range */
	{"54000", ERROR_INVALID_REQUEST},	  /* program limit exceeded: jsonb too large */
	{"54001", ERROR_INVALID_REQUEST},	  /* statement too complex: nested too deep */
	{"57P0", ERROR_BACKEND_UNAVAILABLE},  /* shutting down, crashed, starting up */
	{"08", ERROR_BACKEND_UNAVAILABLE},	  /* connection exceptions */
	{"53", ERROR_BACKEND_UNAVAILABLE},	  /* out of connections, memory, disk */
	{"40001", ERROR_BACKEND_UNAVAILABLE}, /* serialization failure */
	{"40P01", ERROR_BACKEND_UNAVAILABLE}, /* deadlock */
	{"55P03", ERROR_BACKEND_UNAVAILABLE}, /* another session holds the stream for too long */
	{"25006", ERROR_BACKEND_UNAVAILABLE}, /* read-only: a standby, until failover is done */
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

/* For who looks after the database.  A client of ours did nothing in SQL, so what a hint says in terms of SQL is not for it. */
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
	add_hint(error, sqlstate, hint, pid);
}

void error_set_versions(struct error *error, int64_t expected, int64_t actual)
{
	snprintf(error->details, sizeof(error->details), "{\"expected\":%" PRId64 ",\"actual\":%" PRId64 "}",
			 expected, actual);
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

/*
 * discover.c: the OpenRPC document (version 1.3.2) of the methods, made from their table and reference.c.
 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/version.h"
#include "methods/internal.h"
#include "methods/notation.h"

/* Errors that any method may have. */
#define REFERENCE "{\"$ref\""
#define OURS "\"code\":-32000,\"message\":\""
#define OFTEN                                                                                                \
	"AUTH_UNAUTHORIZED, RATE_LIMITED, OVERLOADED, BACKEND_UNAVAILABLE or BACKEND_ERROR, as data.code says\""

/* No server: its URL is whatever the document was asked for at. */
static const char head[] =
	"{\"openrpc\":\"1.3.2\",\"info\":{\"title\":\"Millrace\",\"version\":\"" MILLRACE_VERSION
	"\",\"description\":\"Event streams in PostgreSQL. POST to /rpc, with Authorization: Bearer TOKEN\","
	"\"license\":{\"name\":\"PostgreSQL\"}},\"methods\":[";

static const char errors[] =
	"},\"errors\":{\"InvalidParams\":{\"code\":-32602,\"message\":\"INVALID_REQUEST: wrong arguments\"},"
	"\"Internal\":{\"code\":-32603,\"message\":\"INTERNAL_ERROR\"},\"Server\":{" OURS OFTEN "}}}}";

/* ---- the reference --------------------------------------------------------- */

static struct slice next_line(const char **at)
{
	struct slice line = {*at, strcspn(*at, "\n")};

	*at += line.len + ((*at)[line.len] == '\n');
	return line;
}

/* What is said of a method, behind its name; NULL: nothing. */
static const char *reference_of(const struct method *method)
{
	char key[60];
	int len = snprintf(key, sizeof(key), "\n\n%s ", method->name);
	const char *found = strstr(method_reference, key);

	return found != NULL ? found + len : NULL;
}

/*
 * Appends the schema of a type, and returns what is behind it.  By its title, of up to two words, programs
 * that make clients name the type.
 */
static const char *add_schema(struct buf *out, const char *type, bool closed, struct slice title,
							  const char *of)
{
	size_t start = out->len;
	const char *rest = notation_add_schema(out, type, closed);

	if (out->failed || strncmp(out->data + start, REFERENCE, strlen(REFERENCE)) == 0)
		return rest;
	buf_truncate(out, out->len - 1);
	buf_printf(out, ",\"title\":\"%.*s%s%s\"}", (int)title.len, title.bytes, of[0] != '\0' ? " " : "", of);
	return rest;
}

/* ---- methods --------------------------------------------------------------- */

static void add_arguments(struct buf *out, const struct method *method, const char **at)
{
	for (unsigned i = 0; i < METHOD_MAX_ARGS && method->arguments[i] != NULL; i++)
	{
		bool optional = **at == '?';

		buf_printf(out, "%s{\"name\":\"%s\",\"required\":%s,\"schema\":", i > 0 ? "," : "",
				   method->arguments[i], optional ? "false" : "true");
		*at = add_schema(out, *at + optional, true, slice_of(method->name), method->arguments[i]);
		next_line(at);
		buf_add_str(out, "}");
	}
}

/* The arguments of the example, and the result. */
static void add_example(struct buf *out, const struct method *method, const char **at)
{
	struct slice line = next_line(at);
	struct buf arguments = {0};
	struct json_iterator iterator;
	struct slice value;

	notation_add_json(&arguments, line);
	buf_add_str(out, "{\"name\":\"example\",\"params\":[");
	json_iterate(&iterator, (struct slice){arguments.data, arguments.len});
	for (unsigned i = 0; json_next_element(&iterator, &value); i++)
	{
		buf_printf(out, "%s{\"name\":\"%s\",\"value\":", i > 0 ? "," : "", method->arguments[i]);
		buf_add(out, value.bytes, value.len);
		buf_add_str(out, "}");
	}
	buf_add_str(out, "],\"result\":{\"name\":\"result\",\"value\":");
	notation_add_json(out, next_line(at));
	buf_add_str(out, "}}");
	out->failed = out->failed || arguments.failed;
	buf_free(&arguments);
}

static void add_errors(struct buf *out, struct slice own)
{
	buf_add_str(out, "{\"$ref\":\"#/components/errors/InvalidParams\"},"
					 "{\"$ref\":\"#/components/errors/Internal\"},");
	if (own.len == 0)
		buf_add_str(out, "{\"$ref\":\"#/components/errors/Server\"}");
	else
		buf_printf(out, "{" OURS "%.*s, " OFTEN "}", (int)own.len, own.bytes);
}

static void add_method(struct buf *out, const struct method *method, const char *at)
{
	struct slice summary = next_line(&at);

	buf_printf(out, "{\"name\":\"%s\",\"summary\":\"%.*s\",\"tags\":[{\"name\":\"%.*s\"}%s],", method->name,
			   (int)summary.len, summary.bytes, (int)strcspn(method->name, "."), method->name,
			   method->right == RIGHT_ADMINISTRATOR ? ",{\"name\":\"administrator\"}" : "");
	if (right_name(method->right)[0] != '\0')
		buf_printf(out, "\"x-right\":\"%s\",", right_name(method->right));
	buf_add_str(out, "\"paramStructure\":\"either\",\"params\":[");
	add_arguments(out, method, &at);
	buf_add_str(out, "],\"result\":{\"name\":\"result\",\"schema\":");
	at = add_schema(out, at, false, slice_of(method->name), "result");
	next_line(&at);
	buf_add_str(out, "},\"examples\":[");
	add_example(out, method, &at);
	buf_add_str(out, "],\"errors\":[");
	add_errors(out, next_line(&at));
	buf_add_str(out, "]}");
}

static void add_methods(struct buf *out, const struct method *methods, size_t nmethods)
{
	bool first = true;

	for (size_t i = 0; i < nmethods; i++)
	{
		const char *reference = reference_of(&methods[i]);

		if (reference == NULL) /* as test_discover.c does not let be */
			continue;
		buf_add_str(out, first ? "" : ",");
		add_method(out, &methods[i], reference);
		first = false;
	}
}

/* ---- the document ------------------------------------------------------------ */

static void add_types(struct buf *out)
{
	const char *at = type_reference;
	bool closed = true;

	while (*at != '\0')
	{
		size_t len = strcspn(at, " \n");

		if (len == 0)
			closed = false;
		else
		{
			struct slice name = {at, len};

			buf_printf(out, "%s\"%.*s\":", at == type_reference ? "" : ",", (int)len, at);
			at = add_schema(out, at + len, closed, name, "");
		}
		next_line(&at);
	}
}

void discover_write(struct buf *out, const struct method *methods, size_t nmethods)
{
	buf_add_str(out, head);
	add_methods(out, methods, nmethods);
	buf_add_str(out, "],\"components\":{\"schemas\":{");
	add_types(out);
	buf_add_str(out, errors);
}

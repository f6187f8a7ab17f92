/*
 * export_request.c: what an export's request asks for (see export_internal.h).
 */
#include "bulk/export_internal.h"

#include <string.h>

#include "base/json.h"
#include "base/timestamp.h"
#include "base/url_query.h"
#include "http/http.h"

static void add_array_element(struct buf *out, struct slice text)
{
	buf_add(out, "\"", 1);
	for (size_t i = 0; i < text.len; i++)
	{
		if (text.bytes[i] == '"' || text.bytes[i] == '\\')
			buf_add(out, "\\", 1);
		buf_add(out, &text.bytes[i], 1);
	}
	buf_add(out, "\"", 1);
}

/* "a,b" -> {"a","b"} */
static bool read_categories(struct export *export, struct slice list, struct error *error)
{
	const char *p = list.bytes;
	const char *end = list.bytes + list.len;

	buf_add_str(&export->categories, "{");
	for (;;)
	{
		const char *comma = memchr(p, ',', (size_t)(end - p));
		struct slice name = {p, (size_t)((comma != NULL ? comma : end) - p)};

		if (name.len == 0)
		{
			error_set(error, ERROR_INVALID_REQUEST, "categories holds an empty name");
			return false;
		}
		add_array_element(&export->categories, name);
		if (comma == NULL)
			break;
		buf_add_str(&export->categories, ",");
		p = comma + 1;
	}
	buf_add(&export->categories, "}", 2);
	return true;
}

/* What is in it is looked at by the extension. */
static bool read_query(struct export *export, struct slice value, struct error *error)
{
	const char *wanted = url_query_check_json(value);

	if (wanted != NULL)
	{
		error_set(error, ERROR_INVALID_REQUEST, "query must be %s", wanted);
		return false;
	}
	buf_add(&export->query, value.bytes, value.len);
	buf_add(&export->query, "", 1);
	return true;
}

static bool read_time(const char *name, struct slice value, struct db_optional *out, struct error *error)
{
	out->is_set = timestamp_parse_loosely(value, &out->value);
	if (!out->is_set)
		error_set(error, ERROR_INVALID_REQUEST,
				  "%s must be a time like 2025-01-31T12:00:00Z or a date like 2025-01-31", name);
	return out->is_set;
}

static bool read_format(struct export *export, struct slice value, struct error *error)
{
	export->cloudevents = slice_is(value, "cloudevents");
	if (!export->cloudevents)
		error_set(error, ERROR_INVALID_REQUEST, "format must be cloudevents");
	return export->cloudevents;
}

static bool read_min_position(struct export *export, struct slice value, struct error *error)
{
	bool ok = url_query_integer(value, &export->reading.min_position) && export->reading.min_position >= 0;

	if (!ok)
		error_set(error, ERROR_INVALID_REQUEST, "minPosition must be a global position, 0 or more");
	return ok;
}

static struct db_optional *time_named(struct export *export, const char *name)
{
	if (strcmp(name, "since") == 0)
		return &export->since;
	return strcmp(name, "until") == 0 ? &export->until : &export->before;
}

/* An absent or empty parameter says nothing. */
static bool read_parameter(struct export *export, const char *name, struct error *error)
{
	struct buf decoded = {0};
	struct slice value;
	bool ok = true;

	if (url_query_find(http_query(export->request), name, &decoded) && decoded.len > 0)
	{
		value = (struct slice){decoded.data, decoded.len};
		if (!json_is_text(decoded.data, decoded.len))
		{
			error_set(error, ERROR_INVALID_REQUEST, "%s is not UTF-8 text", name);
			ok = false;
		}
		else if (strcmp(name, "categories") == 0)
			ok = read_categories(export, value, error);
		else if (strcmp(name, "query") == 0)
			ok = read_query(export, value, error);
		else if (strcmp(name, "minPosition") == 0)
			ok = read_min_position(export, value, error);
		else if (strcmp(name, "format") == 0)
			ok = read_format(export, value, error);
		else
			ok = read_time(name, value, time_named(export, name), error);
	}
	if (decoded.failed || export->categories.failed || export->query.failed)
	{
		error_set(error, ERROR_INTERNAL_ERROR, "out of memory");
		ok = false;
	}
	buf_free(&decoded);
	return ok;
}

bool export_read_request(struct export *export, struct error *error)
{
	static const char *const known[] = {"categories", "query",	"since",	   "until",
										"before",	  "format", "minPosition", NULL};
	char problem[200];

	if (!url_query_check_names(http_query(export->request), known, problem))
	{
		error_set(error, ERROR_INVALID_REQUEST, "%s", problem);
		return false;
	}
	for (int i = 0; known[i] != NULL; i++)
		if (!read_parameter(export, known[i], error))
			return false;
	return true;
}

/*
 * params.c: reads the parameters of /subscribe (see params.h).
 *
 * An empty parameter is as good as none, of a repeated one the first counts.  Unknown ones are ignored,
 * unless they look like a known one.
 */
#include "live/params.h"

#include <stdio.h>

#include "base/json.h"
#include "base/url_query.h"

#include "extension/protocol.h"

#define TYPES_LIMITS "at most " LIMIT_TEXT(MAX_TYPES) " types of 1 to " LIMIT_TEXT(MAX_NAME) " bytes"

static const char *const parameters[] = {
	"stream",
	"category",
	"query",
	"all",
	"position",
	"consumer",
	"size",
	"messages",
	"ids",
	"types",
	"correlation",
	"token",
	"consumerGroupMember",
	"consumerGroupSize",
	"lastEventId",
	"head",
	"format",
	"strict",
	"removalsSeen",
	"minPosition",
	NULL,
};

struct reader
{
	struct slice query;
	struct buf text; /* of the parameter that is being read */
	char *problem;	 /* [200] */
};

static bool reject(struct reader *reader, const char *name, const char *wanted)
{
	snprintf(reader->problem, 200, "%s must be %s", name, wanted);
	return false;
}

/* The decoded value with a NUL behind it; NULL: there is none, or it is empty. */
static const char *find(struct reader *reader, const char *name)
{
	buf_clear(&reader->text);
	if (!url_query_find(reader->query, name, &reader->text) || reader->text.len == 0)
		return NULL;
	buf_add(&reader->text, "", 1);
	return reader->text.failed ? NULL : reader->text.data;
}

/* Leaves *value alone when there is no such parameter. */
static bool read_integer(struct reader *reader, const char *name, int64_t min, const char *wanted,
						 int64_t *value)
{
	const char *text = find(reader, name);

	if (text == NULL)
		return true;
	if (!url_query_integer(slice_of(text), value) || *value < min)
		return reject(reader, name, wanted);
	return true;
}

static bool read_flag(struct reader *reader, const char *name, bool *value)
{
	const char *text = find(reader, name);

	*value = text != NULL && strcmp(text, "true") == 0;
	if (text == NULL || *value || strcmp(text, "false") == 0)
		return true;
	return reject(reader, name, "true or false");
}

/* Takes a name into the params if there is one; *given counts. */
static bool read_name(struct reader *reader, const char *name, enum feed_source source,
					  struct subscribe_params *params, int *given)
{
	const char *text = find(reader, name);
	size_t len = text != NULL ? reader->text.len - 1 : 0;

	if (text == NULL)
		return true;
	if (len > MAX_NAME || !json_is_text(text, len))
		return reject(reader, name, "UTF-8 text of at most " LIMIT_TEXT(MAX_NAME) " bytes");
	params->filter.source = source;
	buf_clear(&params->text);
	buf_add(&params->text, text, len + 1);
	(*given)++;
	return true;
}

/* What is in it is looked at by the extension. */
static bool read_query(struct reader *reader, struct subscribe_params *params, int *given)
{
	const char *text = find(reader, "query");
	const char *wanted;

	if (text == NULL)
		return true;
	wanted = url_query_check_json((struct slice){text, reader->text.len - 1});
	if (wanted != NULL)
		return reject(reader, "query", wanted);
	params->filter.source = FEED_QUERY;
	buf_clear(&params->text);
	buf_add(&params->text, text, reader->text.len);
	(*given)++;
	return true;
}

static bool read_source(struct reader *reader, struct subscribe_params *params)
{
	int given = 0;
	bool all;

	if (!read_name(reader, "stream", FEED_STREAM, params, &given) ||
		!read_name(reader, "category", FEED_CATEGORY, params, &given) ||
		!read_query(reader, params, &given) || !read_flag(reader, "all", &all))
		return false;
	if (all && given == 0)
		buf_add(&params->text, "", 1); /* FEED_ALL is zero */
	given += all;
	if (given == 1)
		return true;
	snprintf(reader->problem, 200, "exactly one of stream, category, query and all=true must be given");
	return false;
}

static bool read_types(struct reader *reader, struct subscribe_params *params, size_t *at)
{
	const char *p = find(reader, "types");
	unsigned n = 0;

	*at = params->text.len;
	if (p == NULL)
		return true;
	if (!json_is_text(p, reader->text.len - 1))
		return reject(reader, "types", "UTF-8 text");
	for (;; p++)
	{
		size_t len = strcspn(p, ",");

		if (len == 0 || len > MAX_NAME || ++n > MAX_TYPES)
			return reject(reader, "types", TYPES_LIMITS ", with commas between them");
		buf_add(&params->text, p, len);
		buf_add(&params->text, "", 1);
		p += len;
		if (*p == '\0')
			break;
	}
	buf_add(&params->text, "", 1);
	return true;
}

static bool read_correlation(struct reader *reader, struct subscribe_params *params, size_t *at)
{
	const char *text = find(reader, "correlation");

	*at = params->text.len;
	if (text == NULL)
		return true;
	if (reader->text.len - 1 > MAX_NAME || !json_is_text(text, reader->text.len - 1))
		return reject(reader, "correlation", "UTF-8 text of at most " LIMIT_TEXT(MAX_NAME) " bytes");
	buf_add(&params->text, text, reader->text.len);
	return true;
}

/* What the messages of the source must be like. */
static bool read_content(struct reader *reader, struct subscribe_params *params)
{
	size_t types, correlation, end;

	if (!read_types(reader, params, &types) || !read_correlation(reader, params, &correlation))
		return false;
	end = params->text.len;
	if (params->text.failed)
		return true; /* found out later */
	params->filter.name = params->text.data;
	params->filter.types = correlation > types ? params->text.data + types : NULL;
	params->filter.correlation = end > correlation ? params->text.data + correlation : NULL;
	return true;
}

static bool read_group(struct reader *reader, struct subscribe_params *params)
{
	struct feed_filter *filter = &params->filter;
	int64_t member = -1;
	int64_t size = 0;

	/* The longer names are those of SQL. */
	if (!read_integer(reader, "consumerGroupMember", 0, "an integer, 0 or more", &member) ||
		!read_integer(reader, "consumerGroupSize", 1, "an integer, 1 or more", &size) ||
		!read_integer(reader, "consumer", 0, "an integer, 0 or more", &member) ||
		!read_integer(reader, "size", 1, "an integer, 1 or more", &size))
		return false;
	if (member < 0 && size == 0)
		return true;
	if (member < 0)
		return reject(reader, "consumer", "given together with size");
	if (size == 0)
		return reject(reader, "size", "given together with consumer");
	if (filter->source != FEED_CATEGORY && filter->source != FEED_QUERY)
		return reject(reader, "consumer", "given together with category or query");
	if (member >= size)
		return reject(reader, "consumer", "below size");
	filter->member = member;
	filter->size = size;
	return true;
}

/* From the header, or the parameter that a polyfill of EventSource adds in its place. */
static bool read_last_event_id(struct reader *reader, struct slice value, int64_t *after)
{
	if (value.len > 0)
	{
		buf_clear(&reader->text);
		buf_add(&reader->text, value.bytes, value.len);
		buf_add(&reader->text, "", 1);
	}
	else if (find(reader, "lastEventId") == NULL)
		return true;
	if (reader->text.failed || !url_query_integer(slice_of(reader->text.data), after) || *after < 0 ||
		*after == INT64_MAX)
		return reject(reader, value.len > 0 ? "Last-Event-ID" : "lastEventId", "a global position");
	return true;
}

static bool read_format(struct reader *reader, struct feed_filter *filter)
{
	const char *text = find(reader, "format");

	filter->cloudevents = text != NULL;
	if (text != NULL && strcmp(text, "cloudevents") != 0)
		return reject(reader, "format", "cloudevents");
	return text == NULL || filter->messages || reject(reader, "messages", "true where format is cloudevents");
}

bool subscribe_params_read(struct subscribe_params *params, struct slice query, struct slice last_event_id,
						   char problem[200])
{
	struct reader reader = {.query = query, .problem = problem};
	bool ok;

	*params = (struct subscribe_params){.after = -1, .seen = -1};
	ok = url_query_check_names(query, parameters, problem) && read_source(&reader, params) &&
		 read_content(&reader, params) && read_group(&reader, params) &&
		 read_integer(&reader, "position", INT64_MIN, "an integer", &params->position) &&
		 read_flag(&reader, "ids", &params->filter.ids) &&
		 read_flag(&reader, "messages", &params->filter.messages) && read_format(&reader, &params->filter) &&
		 read_flag(&reader, "head", &params->head) && read_flag(&reader, "strict", &params->strict) &&
		 read_integer(&reader, "removalsSeen", 0, "an integer, 0 or more", &params->seen) &&
		 read_integer(&reader, "minPosition", 0, "an integer, 0 or more", &params->min_position) &&
		 read_last_event_id(&reader, last_event_id, &params->after);
	if (ok && (params->text.failed || reader.text.failed))
		ok = reject(&reader, "the request", "smaller: out of memory");
	buf_free(&reader.text);
	return ok;
}

void subscribe_params_write_types(struct buf *out, const char *types)
{
	const char *separator = "{\"";

	for (; *types != '\0'; types++)
	{
		buf_add_str(out, separator);
		for (; *types != '\0'; types++)
		{
			if (*types == '"' || *types == '\\')
				buf_add(out, "\\", 1);
			buf_add(out, types, 1);
		}
		separator = "\",\"";
	}
	buf_add(out, "\"}", 3);
}

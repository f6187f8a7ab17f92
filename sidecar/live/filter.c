/*
 * filter.c: what a listener wants of the messages of its stream or category (see feed_internal.h).
 */
#include <string.h>

#include "live/feed_internal.h"
#include "base/json.h"
#include "base/names.h"

/* Where they are in a whole message. */
#define TYPE_ELEMENT 2
#define METADATA_ELEMENT 6

bool feed_wants_whole(const struct feed_filter *filter)
{
	return filter->messages || filter->types != NULL || filter->correlation != NULL;
}

size_t feed_types_size(const char *types)
{
	const char *end = types;

	if (types == NULL)
		return 0;
	while (*end != '\0')
		end += strlen(end) + 1;
	return (size_t)(end - types) + 1;
}

bool feed_same_content(const struct feed_filter *a, const struct feed_filter *b)
{
	size_t size = feed_types_size(a->types);

	if (size != feed_types_size(b->types) || (size > 0 && memcmp(a->types, b->types, size) != 0))
		return false;
	if (a->correlation == NULL || b->correlation == NULL)
		return a->correlation == b->correlation;
	return strcmp(a->correlation, b->correlation) == 0;
}

/* What ->> gives, for a value of metadata.  False: nothing. */
static bool add_value(struct buf *out, struct slice value)
{
	switch (json_kind(value))
	{
		case JSON_NONE:
		case JSON_NULL:
			return false;
		case JSON_STRING:
			json_decode(value, out); /* what jsonb holds can be decoded */
			return true;
		default:
			buf_add(out, value.bytes, value.len);
			return true;
	}
}

static struct slice find_correlation(struct slice metadata)
{
	struct json_iterator iterator;
	struct slice key, value;

	if (json_kind(metadata) != JSON_OBJECT)
		return (struct slice){NULL, 0};
	json_iterate(&iterator, metadata);
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, "correlationStreamName"))
			return value;
	}
	return (struct slice){NULL, 0};
}

static void read_content(struct feed_content *content, struct slice message)
{
	struct json_iterator iterator;
	struct slice element;

	content->read = true;
	content->correlated = false;
	buf_clear(&content->text);
	json_iterate(&iterator, message);
	for (int i = 0; i <= METADATA_ELEMENT && json_next_element(&iterator, &element); i++)
	{
		if (i == TYPE_ELEMENT)
		{
			add_value(&content->text, element);
			content->type_len = content->text.len;
		}
		if (i == METADATA_ELEMENT)
			content->correlated = add_value(&content->text, find_correlation(element));
	}
}

static bool has_type(const char *types, struct slice type)
{
	for (; *types != '\0'; types += strlen(types) + 1)
	{
		if (slice_is(type, types))
			return true;
	}
	return false;
}

bool feed_passes(const struct feed_filter *filter, struct slice message, struct feed_content *content)
{
	const struct buf *text = &content->text;
	struct slice type, stream;

	if (filter->types == NULL && filter->correlation == NULL)
		return true;
	if (!content->read)
		read_content(content, message);
	if (text->failed)
		return true; /* the caller looks */
	type = (struct slice){text->data, content->type_len};
	if (filter->types != NULL && !has_type(filter->types, type))
		return false;
	if (filter->correlation == NULL)
		return true;
	stream = (struct slice){text->data + content->type_len, text->len - content->type_len};
	return content->correlated && slice_is(name_category(stream), filter->correlation);
}

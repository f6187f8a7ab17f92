/*
 * cloudevent.c: takes messages apart and writes them as CloudEvents (see cloudevent.h).
 *
 * Positions are strings: an integer of CloudEvents has 32 bits.
 */
#include "base/cloudevent.h"

#include "base/json.h"

#define PARTS 8

/* In the order of struct cloudevent, as both forms have them. */
static struct cloudevent event_of(const struct slice parts[PARTS])
{
	return (struct cloudevent){.id = parts[0],
							   .stream = parts[1],
							   .type = parts[2],
							   .position = parts[3],
							   .global_position = parts[4],
							   .data = parts[5],
							   .metadata = parts[6],
							   .time = parts[7]};
}

struct cloudevent cloudevent_of_message(struct slice message)
{
	struct slice parts[PARTS] = {{NULL, 0}};
	struct json_iterator iterator;

	json_iterate(&iterator, message);
	for (unsigned i = 0; i < PARTS && json_next_element(&iterator, &parts[i]); i++)
		;
	return event_of(parts);
}

struct cloudevent cloudevent_of_line(struct slice line)
{
	struct slice parts[PARTS] = {{NULL, 0}};
	struct json_iterator iterator;
	struct slice key;

	json_iterate(&iterator, line);
	for (unsigned i = 0; i < PARTS && json_next_member(&iterator, &key, &parts[i]); i++)
		;
	return event_of(parts);
}

/* "/namespaces/NAME", a URI reference. */
static void add_source(struct buf *out, const char *namespace_name)
{
	static const char digits[] = "0123456789ABCDEF";

	buf_add_str(out, "/namespaces/");
	for (const unsigned char *p = (const unsigned char *)namespace_name; *p != '\0'; p++)
	{
		const char escaped[] = {'%', digits[*p >> 4], digits[*p & 15]};
		bool letter = (*p | 0x20) >= 'a' && (*p | 0x20) <= 'z';

		if (letter || (*p >= '0' && *p <= '9') || strchr("-._~", *p) != NULL)
			buf_add(out, p, 1);
		else
			buf_add(out, escaped, sizeof(escaped));
	}
}

static void add_member(struct buf *out, const char *name, struct slice value)
{
	buf_add_str(out, name);
	buf_add(out, value.bytes, value.len);
}

/* RFC 3339 has years of four digits. */
static bool has_time(struct slice time)
{
	return json_kind(time) == JSON_STRING && time.len > 6 && time.bytes[5] == '-' && time.bytes[1] >= '0' &&
		   time.bytes[1] <= '9';
}

/* Strings of CloudEvents have no control characters: those of ASCII, and U+0080 to U+009F. */
static bool has_control(struct slice string)
{
	for (size_t i = 0; i < string.len; i++)
	{
		const unsigned char *p = (const unsigned char *)string.bytes + i;
		size_t left = string.len - i;

		if (*p == 0x7F || (*p == 0xC2 && left > 1 && p[1] < 0xA0))
			return true;
		if (*p != '\\' || left < 2)
			continue;
		if (strchr("bfnrt", p[1]) != NULL)
			return true;
		if (p[1] == 'u' && left > 5 && memcmp(p + 2, "00", 2) == 0 &&
			(strchr("0189", p[4]) != NULL || (p[4] == '7' && (p[5] | 0x20) == 'f')))
			return true;
		i++;
	}
	return false;
}

/* An empty attribute is none. */
static bool may_be_attribute(struct slice value)
{
	return json_kind(value) == JSON_STRING && value.len > 2 && !has_control(value);
}

/* Those of metadata's members that attributes are known for. */
static void add_correlation(struct buf *out, struct slice metadata)
{
	static const char *const names[][2] = {{"correlationId", ",\"correlationid\":"},
										   {"causationId", ",\"causationid\":"},
										   {"traceparent", ",\"traceparent\":"}};
	struct json_iterator iterator;
	struct slice key, value;

	json_iterate(&iterator, metadata);
	while (json_next_member(&iterator, &key, &value))
	{
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		{
			if (may_be_attribute(value) && json_string_is(key, names[i][0]))
				add_member(out, names[i][1], value);
		}
	}
}

void cloudevent_write(struct buf *out, const char *namespace_name, const struct cloudevent *event)
{
	add_member(out, "{\"specversion\":\"1.0\",\"id\":", event->id);
	buf_add_str(out, ",\"source\":\"");
	add_source(out, namespace_name);
	add_member(out, "\",\"type\":", event->type);
	if (may_be_attribute(event->stream))
		add_member(out, ",\"subject\":", event->stream);
	if (has_time(event->time))
		add_member(out, ",\"time\":", event->time);
	add_member(out, ",\"position\":\"", event->position);
	add_member(out, "\",\"globalposition\":\"", event->global_position);
	buf_add_str(out, "\"");
	if (json_kind(event->metadata) == JSON_OBJECT)
	{
		add_correlation(out, event->metadata);
		buf_add_str(out, ",\"metadata\":");
		json_add_string(out, event->metadata.bytes, event->metadata.len);
	}
	add_member(out, ",\"datacontenttype\":\"application/json\",\"data\":", event->data);
	buf_add_str(out, "}");
}

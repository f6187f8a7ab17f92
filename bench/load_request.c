/*
 * load_request.c: what the workers ask for.
 */
#define _GNU_SOURCE

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

/* Bytes of a body beside the text of a message: the longest are two prefixes, twice. */
#define AROUND_TEXT (1024 + 4 * MAX_PREFIX)

static char *filler; /* the text of all messages */
static uint64_t message_number;

void requests_prepare(void)
{
	long length = options.size - SIZE_AROUND_TEXT;

	filler = allocate((size_t)options.size);
	for (long i = 0; i < length; i++)
		filler[i] = (char)('a' + random_number() % 26);
}

size_t request_room(void)
{
	return (size_t)options.size + AROUND_TEXT;
}

static int write_read(const struct worker *worker, char *body, uint64_t stream)
{
	if (options.tags == TAGS_RACE)
		return sprintf(body,
					   "[\"query.get\",{\"items\":[{\"tags\":[\"%s\"]}]},{\"position\":%" PRIu64
					   ",\"batchSize\":1000}]",
					   options.prefix, worker->after + 1);
	if (options.category > 0)
		return sprintf(body, "[\"category.get\",\"load\",{\"position\":%" PRIu64 ",\"batchSize\":1000}]",
					   1 + random_number() % (uint64_t)options.category);
	return sprintf(body, "[\"stream.get\",\"load-%" PRIu64 "\",{\"position\":0,\"batchSize\":10}]", stream);
}

/* SIZE_AROUND_TEXT bytes of data around the text make --size bytes. */
static int write_message(char *body, uint64_t number)
{
	int text = (int)options.size - SIZE_AROUND_TEXT;
	int length = sprintf(body, "{\"type\":\"Loaded\",\"data\":{\"n\":%011" PRIu64 ",\"text\":\"",
						 10000000000 + number);

	memcpy(body + length, filler, (size_t)text);
	return length + text + sprintf(body + length + text, "\"}");
}

static int write_write(const struct worker *worker, char *body, uint64_t stream)
{
	uint64_t number = message_number++;
	char tag[MAX_PREFIX + 30];
	int length = sprintf(body, "[\"stream.write\",\"load-%" PRIu64 "\",", stream);

	length += write_message(body + length, number);
	if (options.tags == TAGS_NONE)
		return length + sprintf(body + length, "}]");
	if (options.tags == TAGS_RACE)
		snprintf(tag, sizeof(tag), "%s", options.prefix);
	else
		sprintf(tag, "%s-%" PRIu64, options.prefix, number);
	length += sprintf(body + length, ",\"tags\":[\"%s\"]}", tag);
	if (options.tags != TAGS_ONLY)
		length += sprintf(body + length,
						  ",{\"condition\":{\"failIfEventsMatch\":{\"items\":[{\"tags\":[\"%s\"]}]},"
						  "\"after\":%" PRIu64 "}}",
						  tag, worker->after);
	return length + sprintf(body + length, "]");
}

int request_write(struct worker *worker, char *body)
{
	uint64_t stream = random_number() % (uint64_t)options.streams;

	if (options.tags == TAGS_RACE)
		worker->is_read = !worker->is_read; /* the first one is a read */
	else
		worker->is_read = random_number() % (options.write_share + options.read_share) >= options.write_share;
	return worker->is_read ? write_read(worker, body, stream) : write_write(worker, body, stream);
}

void request_answered(struct worker *worker)
{
	static const char head[] = "\"head\":";
	char *found = NULL;

	if (options.tags != TAGS_RACE || !worker->is_read || worker->status != 200)
		return;
	/* The last one: messages come before it. */
	for (char *next = worker->in + worker->body; (next = strstr(next, head)) != NULL; next++)
		found = next;
	if (found == NULL)
		fail("query.get answers without a head: %.200s", worker->in + worker->body);
	worker->after = strtoull(found + strlen(head), NULL, 10);
}

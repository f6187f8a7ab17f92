/*
 * fuzz_http_head.c: a request's head is the same wherever its bytes are cut, and what is accepted leaves no
 * two readers room for different opinions about where the request ends.
 */
#include <strings.h>

#include "fuzz.h"
#include "http/parse.h"

/* Parses what comes in steps: the first one, then all others.  Each in an allocation of its size. */
static ssize_t parse(struct http_head *head, struct slice bytes, size_t first, size_t step, size_t max_head)
{
	size_t have = first < bytes.len ? first : bytes.len;

	http_head_start(head);
	for (;;)
	{
		char *copy = malloc(have > 0 ? have : 1);
		ssize_t used;

		memcpy(copy, bytes.bytes, have);
		used = http_parse_head(head, copy, have, max_head);
		free(copy);
		if (used != HTTP_MORE || have == bytes.len)
			return used;
		have = step < bytes.len - have ? have + step : bytes.len;
	}
}

static void require_same_span(struct http_span a, struct http_span b, size_t end)
{
	require(a.at == b.at && a.len == b.len);
	require(a.at <= end && a.len <= end - a.at);
}

static void require_same(const struct http_head *a, const struct http_head *b, size_t end)
{
	require_same_span(a->method, b->method, end);
	require_same_span(a->target, b->target, end);
	require(a->minor_version == b->minor_version && a->nheaders == b->nheaders);
	for (unsigned i = 0; i < a->nheaders; i++)
	{
		require_same_span(a->headers[i].name, b->headers[i].name, end);
		require_same_span(a->headers[i].value, b->headers[i].value, end);
	}
	require(a->has_length == b->has_length && a->chunked == b->chunked && a->keep_alive == b->keep_alive &&
			a->expects_continue == b->expects_continue && a->content_length == b->content_length);
}

/* ---- what is accepted, read by eye -------------------------------------------------- */

/* Takes a line off the head; every reader must see it end there. */
static struct slice take_line(struct slice *head)
{
	char *end = memmem(head->bytes, head->len, "\r\n", 2);
	struct slice line;

	require(end != NULL);
	line = (struct slice){head->bytes, (size_t)(end - head->bytes)};
	require(memchr(line.bytes, '\r', line.len) == NULL && memchr(line.bytes, '\n', line.len) == NULL &&
			memchr(line.bytes, '\0', line.len) == NULL);
	head->bytes += line.len + 2;
	head->len -= line.len + 2;
	return line;
}

static bool has_name(struct slice line, const char *name)
{
	return line.len >= strlen(name) && strncasecmp(line.bytes, name, strlen(name)) == 0;
}

static void check_accepted(const struct http_head *head, struct slice bytes)
{
	unsigned lengths = 0;
	unsigned codings = 0;
	unsigned hosts = 0;
	unsigned nheaders = 0;
	struct slice line;
	char version[16];

	while (bytes.len >= 2 && memcmp(bytes.bytes, "\r\n", 2) == 0)
		take_line(&bytes);
	line = take_line(&bytes);
	snprintf(version, sizeof(version), "HTTP/1.%d", head->minor_version);
	require(line.len >= 12 && memcmp(line.bytes + line.len - 8, version, 8) == 0);
	require(line.len == head->method.len + head->target.len + 10 && line.bytes[head->method.len] == ' ');
	require(memchr(line.bytes + head->method.len + 1, ' ', head->target.len) == NULL);
	for (line = take_line(&bytes); line.len > 0; line = take_line(&bytes))
	{
		/* Neither folded nor with a space in front of the colon. */
		const char *colon = memchr(line.bytes, ':', line.len);

		require(colon != NULL && colon > line.bytes);
		for (const char *p = line.bytes; p < colon; p++)
			require(*p > ' ' && strchr("\x7f\"(),/:;<=>?@[\\]{}", *p) == NULL);
		nheaders++;
		lengths += has_name(line, "Content-Length:");
		codings += has_name(line, "Transfer-Encoding:");
		hosts += has_name(line, "Host:");
	}
	require(bytes.len == 0);
	require(nheaders == head->nheaders);
	require(head->has_length == (lengths > 0) && head->chunked == (codings == 1) && codings <= 1);
	require(!head->has_length || !head->chunked);
	require(hosts <= 1 && (hosts == 1 || head->minor_version == 0));
	for (unsigned i = 0; i < head->nheaders; i++)
		require(head->headers[i].name.len > 0);
}

static void check(struct slice bytes, size_t max_head)
{
	struct http_head whole, other;
	size_t steps[] = {1, 2, 7, bytes.len / 2 + 1};
	ssize_t used = parse(&whole, bytes, bytes.len, 1, max_head);

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
	{
		ssize_t again = parse(&other, bytes, steps[i], steps[i], max_head);

		require(again == used);
		require(used != HTTP_BAD || other.status == whole.status);
		if (used > 0)
			require_same(&whole, &other, (size_t)used);
	}
	if (used > 0)
	{
		require((size_t)used <= bytes.len && (size_t)used <= max_head);
		check_accepted(&whole, (struct slice){bytes.bytes, (size_t)used});
		/* What comes behind it has no influence. */
		require(parse(&other, (struct slice){bytes.bytes, (size_t)used}, 1, 1, max_head) == used);
		require_same(&whole, &other, (size_t)used);
	}
	else if (used == HTTP_BAD)
		require(whole.status == 400 || whole.status == 417 || whole.status == 431 || whole.status == 501 ||
				whole.status == 505);
	else
		require(used == HTTP_MORE && bytes.len < max_head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice bytes = fuzz_slice(data, size);

	check(bytes, 16384);
	check(bytes, 100);
	return 0;
}

/*
 * test_http_parse.c: every request means the same wherever the network cut it, and what two readers
 * could understand differently is refused.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "http/parse.h"

#define MAX_HEAD 20000
#define HOST "Host: h\r\n"

/* Parses what comes in pieces of `step` bytes, the last state of `head` is the result. */
static ssize_t parse_in_steps(struct http_head *head, const char *bytes, size_t len, size_t step)
{
	ssize_t used = HTTP_MORE;

	http_head_start(head);
	for (size_t have = step < len ? step : len; used == HTTP_MORE;
		 have = have + step < len ? have + step : len)
	{
		/* An exact copy, so that a sanitizer sees reads behind the end. */
		char *copy = malloc(have > 0 ? have : 1);

		memcpy(copy, bytes, have);
		used = http_parse_head(head, copy, have, MAX_HEAD);
		free(copy);
		if (have == len)
			break;
	}
	return used;
}

static void assert_status(const char *bytes, int status)
{
	struct http_head head;

	for (size_t step = 1; step <= strlen(bytes); step++)
	{
		ssize_t used = parse_in_steps(&head, bytes, strlen(bytes), step);

		if (used != HTTP_BAD || head.status != status)
			fail_msg("%zd, status %d in place of %d, in steps of %zu: %s", used, head.status, status, step,
					 bytes);
	}
}

static void assert_span(const char *bytes, struct http_span span, const char *text)
{
	assert_int_equal(span.len, strlen(text));
	assert_memory_equal(bytes + span.at, text, span.len);
}

static void a_request_is_the_same_wherever_it_is_cut(void **state)
{
	static const char bytes[] =
		"\r\nPOST /rpc?token=x HTTP/1.1\r\nHost: localhost\r\ncontent-length:  12 \r\n"
		"X-Empty:\r\nExpect: 100-Continue\r\n\r\n[\"sys.health\"]";
	struct http_head head;
	size_t head_len = (size_t)(strstr(bytes + 2, "\r\n\r\n") + 4 - bytes);

	(void)state;
	for (size_t step = 1; step < sizeof(bytes); step++)
	{
		assert_int_equal(parse_in_steps(&head, bytes, sizeof(bytes) - 1, step), head_len);
		assert_span(bytes, head.method, "POST");
		assert_span(bytes, head.target, "/rpc?token=x");
		assert_int_equal(head.nheaders, 4);
		assert_span(bytes, head.headers[1].name, "content-length");
		assert_span(bytes, head.headers[1].value, "12");
		assert_span(bytes, head.headers[2].value, "");
		assert_true(head.has_length && head.keep_alive && head.expects_continue && !head.chunked);
		assert_int_equal(head.content_length, 12);
	}
}

static void every_first_part_of_a_request_wants_more(void **state)
{
	static const char bytes[] = "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
	struct http_head head;

	(void)state;
	for (size_t len = 0; len < sizeof(bytes) - 1; len++)
	{
		http_head_start(&head);
		assert_int_equal(http_parse_head(&head, bytes, len, MAX_HEAD), HTTP_MORE);
	}
}

static void assert_keep_alive(const char *bytes, bool keep_alive)
{
	struct http_head head;

	assert_int_equal(parse_in_steps(&head, bytes, strlen(bytes), strlen(bytes)), strlen(bytes));
	assert_int_equal(head.keep_alive, keep_alive);
}

static void the_connection_header_and_the_version_decide_on_keep_alive(void **state)
{
	(void)state;
	assert_keep_alive("GET / HTTP/1.1\r\n" HOST "\r\n", true);
	assert_keep_alive("GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", false);
	assert_keep_alive("GET / HTTP/1.1\r\n" HOST "Connection: TE , Close\r\n\r\n", false);
	assert_keep_alive("GET / HTTP/1.0\r\n\r\n", false);
	assert_keep_alive("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true);
}

static void what_two_readers_could_understand_differently_is_refused(void **state)
{
	static const char *const lines[] = {
		"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
		"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
		"Content-Length: 1\r\nContent-Length: 2\r\n",
		"Content-Length: 1, 1\r\n",
		"Content-Length: +1\r\n",
		"Content-Length: -1\r\n",
		"Content-Length: 0x1\r\n",
		"Content-Length: 1 1\r\n",
		"Content-Length:\r\n",
		"Content-Length : 1\r\n",
		" Content-Length: 1\r\n",
		"A: b\r\n c\r\n",
		"A: b\r\n\tc\r\n",
		"A: b\rc\r\n",
		"A: b\nC: d\r\n",
		"A: b\r\r\n",
		"A: b\x01\r\n",
		"A: b\x7f\r\n",
		": b\r\n",
		"A b\r\n",
		"A\r\n",
		"Host: again\r\n",
		"A(: b\r\n",
	};
	char bytes[300];

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
	{
		snprintf(bytes, sizeof(bytes), "POST / HTTP/1.1\r\n" HOST "%s\r\n", lines[i]);
		assert_status(bytes, 400);
	}
}

static void bad_request_lines_are_refused(void **state)
{
	(void)state;
	assert_status("GET / HTTP/1.1\nHost: h\r\n\r\n", 400);
	assert_status("GET  / HTTP/1.1\r\n" HOST "\r\n", 400);
	assert_status("GET /\r\n" HOST "\r\n", 400);
	assert_status("GET / HTTP/1.1 \r\n" HOST "\r\n", 400);
	assert_status("GET / HTTP/11\r\n" HOST "\r\n", 400);
	assert_status("GET / http/1.1\r\n" HOST "\r\n", 400);
	assert_status("GET /a\tb HTTP/1.1\r\n" HOST "\r\n", 400);
	assert_status("G@T / HTTP/1.1\r\n" HOST "\r\n", 400);
	assert_status(" GET / HTTP/1.1\r\n" HOST "\r\n", 400);
	assert_status("\x16\x03\x01", 400);
	assert_status("GET / HTTP/1.1\r\n\r\n", 400); /* no Host */
	assert_status("GET / HTTP/2.0\r\n" HOST "\r\n", 505);
	assert_status("GET / HTTP/0.9\r\n" HOST "\r\n", 505);
	assert_status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

static void a_nul_is_refused(void **state)
{
	static const char bytes[] = "GET / HTTP/1.1\r\n" HOST "A: b\0c\r\n\r\n";
	struct http_head head;

	(void)state;
	for (size_t step = 1; step < sizeof(bytes); step++)
	{
		assert_int_equal(parse_in_steps(&head, bytes, sizeof(bytes) - 1, step), HTTP_BAD);
		assert_int_equal(head.status, 400);
	}
}

static void unknown_encodings_and_expectations_have_their_own_status(void **state)
{
	(void)state;
	assert_status("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", 501);
	assert_status("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501);
	assert_status("POST / HTTP/1.1\r\n" HOST "Expect: a miracle\r\n\r\n", 417);
}

static void a_length_beyond_64_bits_is_more_than_any_limit(void **state)
{
	static const char bytes[] = "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999999\r\n\r\n";
	struct http_head head;

	(void)state;
	assert_int_equal(parse_in_steps(&head, bytes, sizeof(bytes) - 1, 7), sizeof(bytes) - 1);
	assert_true(head.content_length == UINT64_MAX);
}

static void the_head_is_limited_in_bytes_and_in_headers(void **state)
{
	static char bytes[3 * MAX_HEAD];
	struct http_head head;
	int len = sprintf(bytes, "GET / HTTP/1.1\r\n" HOST "A: ");

	(void)state;
	memset(bytes + len, 'x', MAX_HEAD);
	assert_int_equal(parse_in_steps(&head, bytes, MAX_HEAD, 1000), HTTP_BAD);
	assert_int_equal(head.status, 431);
	len = sprintf(bytes, "GET / HTTP/1.1\r\n" HOST);
	for (int i = 0; i < HTTP_MAX_HEADERS; i++)
		len += sprintf(bytes + len, "A: b\r\n");
	len += sprintf(bytes + len, "\r\n");
	assert_int_equal(parse_in_steps(&head, bytes, (size_t)len, 1000), HTTP_BAD);
	assert_int_equal(head.status, 431);
}

/* ---- chunked bodies ------------------------------------------------------- */

/* Decodes what comes in pieces of `step` bytes; returns the bytes used or HTTP_BAD. */
static ssize_t decode_in_steps(const char *bytes, size_t len, size_t step, struct http_chunked *chunked,
							   char *out, size_t *out_len)
{
	size_t pos = 0;

	*chunked = (struct http_chunked){0};
	*out_len = 0;
	while (pos < len && chunked->state != HTTP_CHUNK_DONE)
	{
		size_t n = len - pos < step ? len - pos : step;
		struct slice data;
		ssize_t used = http_chunked_read(chunked, bytes + pos, n, &data);

		if (used == HTTP_BAD)
			return HTTP_BAD;
		assert_true(used > 0);
		memcpy(out + *out_len, data.bytes, data.len);
		*out_len += data.len;
		pos += (size_t)used;
	}
	return (ssize_t)pos;
}

static void a_chunked_body_is_the_same_wherever_it_is_cut(void **state)
{
	static const char bytes[] =
		"5\r\nhello\r\n1;name=\"v\"\r\n \r\n00005 \r\nworld\r\n0\r\nTrailer: x\r\n\r\nGET /";
	struct http_chunked chunked;
	char out[100];
	size_t len;

	(void)state;
	for (size_t step = 1; step < sizeof(bytes); step++)
	{
		assert_int_equal(decode_in_steps(bytes, sizeof(bytes) - 1, step, &chunked, out, &len),
						 sizeof(bytes) - 1 - strlen("GET /"));
		assert_int_equal(chunked.state, HTTP_CHUNK_DONE);
		assert_int_equal(len, 11);
		assert_memory_equal(out, "hello world", 11);
	}
}

static void bad_chunks_are_refused(void **state)
{
	static const char *const bodies[] = {
		"\r\n",
		"g\r\n",
		"-1\r\n",
		"0x5\r\nhello\r\n",
		"5\nhello\r\n",
		"5\r\nhello0\r\n\r\n",
		"5\r\nhello\n0\r\n",
		";a\r\n",
		" 5\r\nhello\r\n",
		"1000000000000000\r\n",
		"5;a\nb\r\nhello\r\n",
		"5;a\rb\r\n",
		"0\r\n\n",
		"0\r\nA: b\n\r\n",
		"0\r\n A: b\r\n\r\n",
		"0\r\nA: b\r\r\n\r\n",
	};
	struct http_chunked chunked;
	char out[100];
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
	{
		for (size_t step = 1; step <= strlen(bodies[i]); step++)
		{
			if (decode_in_steps(bodies[i], strlen(bodies[i]), step, &chunked, out, &len) != HTTP_BAD)
				fail_msg("accepted in steps of %zu: %s", step, bodies[i]);
		}
	}
}

static void endless_extensions_and_trailers_are_refused(void **state)
{
	static char bytes[100000];
	struct http_chunked chunked;
	char out[100];
	size_t len;

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	memcpy(bytes, "1;", 2);
	assert_int_equal(decode_in_steps(bytes, sizeof(bytes), 1000, &chunked, out, &len), HTTP_BAD);
	memcpy(bytes, "0\r\n", 3);
	assert_int_equal(decode_in_steps(bytes, sizeof(bytes), 1000, &chunked, out, &len), HTTP_BAD);
}

static void random_bytes_do_no_harm(void **state)
{
	static const char alphabet[] = "GET /HTTP1.\r\n\r\n: ;0aA\t\x01";
	struct http_head head;

	(void)state;
	srand(1);
	for (int i = 0; i < 100000; i++)
	{
		char bytes[64];
		char out[64];
		struct http_chunked chunked;
		size_t out_len;
		size_t len = (size_t)rand() % sizeof(bytes);

		for (size_t j = 0; j < len; j++)
			bytes[j] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
		parse_in_steps(&head, bytes, len, 1 + (size_t)rand() % 64);
		decode_in_steps(bytes, len, 1 + (size_t)rand() % 64, &chunked, out, &out_len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_the_same_wherever_it_is_cut),
		cmocka_unit_test(every_first_part_of_a_request_wants_more),
		cmocka_unit_test(the_connection_header_and_the_version_decide_on_keep_alive),
		cmocka_unit_test(what_two_readers_could_understand_differently_is_refused),
		cmocka_unit_test(bad_request_lines_are_refused),
		cmocka_unit_test(a_nul_is_refused),
		cmocka_unit_test(unknown_encodings_and_expectations_have_their_own_status),
		cmocka_unit_test(a_length_beyond_64_bits_is_more_than_any_limit),
		cmocka_unit_test(the_head_is_limited_in_bytes_and_in_headers),
		cmocka_unit_test(a_chunked_body_is_the_same_wherever_it_is_cut),
		cmocka_unit_test(bad_chunks_are_refused),
		cmocka_unit_test(endless_extensions_and_trailers_are_refused),
		cmocka_unit_test(random_bytes_do_no_harm),
	};

	return cmocka_run_group_tests_name("http_parse", tests, NULL, NULL);
}

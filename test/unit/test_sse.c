/*
 * test_sse.c: the bytes of server-sent events: sidecar/README.md, "Subscriptions".
 */
#include "http/sse.h"

#include "unit.h"

static void assert_text(struct buf *out, const char *expected)
{
	assert_false(out->failed);
	assert_int_equal(out->len, strlen(expected));
	assert_memory_equal(out->data, expected, out->len);
	buf_free(out);
}

static void an_event_is_a_chunk_of_its_own(void **state)
{
	const struct sse_event plain = {.name = "poke", .data = slice_of("{}")};
	const struct sse_event with_id = {.id = slice_of("17"), .name = "message", .data = slice_of("[1]")};
	struct buf out = {0};

	(void)state;
	sse_add_event(&out, &plain, true);
	sse_add_event(&out, &with_id, true);
	assert_text(&out, "16\r\nevent: poke\ndata: {}\n\n\r\n"
					  "21\r\nid: 17\nevent: message\ndata: [1]\n\n\r\n");
	sse_add_event(&out, &with_id, false);
	assert_text(&out, "id: 17\nevent: message\ndata: [1]\n\n");
}

static void finished_events_are_cut_at_their_blank_lines(void **state)
{
	static const char text[] = "id: 1\nevent: poke\ndata: {}\n\nevent: poke\ndata: {}\n\n";
	struct buf out = {0};

	(void)state;
	sse_add_text(&out, slice_of(text), true);
	assert_text(&out, "1c\r\nid: 1\nevent: poke\ndata: {}\n\n\r\n"
					  "16\r\nevent: poke\ndata: {}\n\n\r\n");
	sse_add_text(&out, slice_of(text), false);
	assert_text(&out, text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_event_is_a_chunk_of_its_own),
		cmocka_unit_test(finished_events_are_cut_at_their_blank_lines),
	};

	return cmocka_run_group_tests_name("sse", tests, NULL, NULL);
}

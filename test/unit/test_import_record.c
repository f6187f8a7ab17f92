/*
 * test_import_record.c: what Postgres cannot hold is refused where it would be stored, and nowhere else.
 */
#include "unit.h"

#include <stdio.h>

#include "bulk/record.h"

#define BEGINNING                                                                                            \
	"\"id\":\"018f0000-0000-7000-8000-000000000001\",\"stream\":\"s-1\",\"type\":\"T\",\"pos\":0,\"gpos\":1"
#define END ",\"time\":\"2025-01-31T12:00:00Z\"}"

static void assert_taken(const char *line)
{
	struct import_fault fault = {0};
	struct buf frame = {0};

	if (!import_record_encode(slice_of(line), false, &frame, &fault))
		fail_msg("refused (%s): %s", fault.message, line);
	assert_true(frame.len > 0);
	buf_free(&frame);
}

/* The fault must name the field, and the frame stay as it was. */
static void assert_refused(const char *line, const char *field)
{
	struct import_fault fault = {0};
	struct buf frame = {0};

	buf_add_str(&frame, "before");
	if (import_record_encode(slice_of(line), false, &frame, &fault))
		fail_msg("accepted: %s", line);
	assert_string_equal(fault.code, "INVALID_RECORD");
	assert_non_null(strstr(fault.message, field));
	assert_int_equal(frame.len, 6);
	buf_free(&frame);
}

static void what_postgres_cannot_hold_may_stand_in_what_is_ignored(void **state)
{
	(void)state;
	assert_taken("{" BEGINNING ",\"data\":{}" END);
	assert_taken("{\"x\":\"\\u0000\"," BEGINNING ",\"data\":{}" END);
	assert_taken("{\"\\ud800\":1e999999," BEGINNING ",\"data\":{},\"meta\":{\"a\":1}" END);
	assert_taken("{\"data\":{\"a\":\"\\u0000\"}," BEGINNING ",\"data\":{}" END);
	assert_taken("{\"stream\":\"\\u0000\"," BEGINNING ",\"data\":{}" END);
}

static void what_postgres_cannot_hold_is_refused_where_it_would_be_stored(void **state)
{
	(void)state;
	assert_refused("{" BEGINNING ",\"data\":{\"a\":\"\\u0000\"}" END, "\"data\"");
	assert_refused("{" BEGINNING ",\"data\":{},\"meta\":{\"\\ud800\":1}" END, "\"meta\"");
	assert_refused("{" BEGINNING ",\"type\":\"\\udc00\",\"data\":{}" END, "\"type\"");
	/* Also when the first such thing stands in what is ignored. */
	assert_refused("{\"x\":\"\\u0000\"," BEGINNING ",\"data\":{\"a\":\"\\u0000\"}" END, "\"data\"");
	assert_refused("{\"x\":1e999999," BEGINNING ",\"data\":{},\"meta\":{\"a\":1e999999}" END, "\"meta\"");
	assert_refused("{\"data\":{\"a\":\"\\u0000\"}," BEGINNING ",\"data\":{\"b\":\"\\ud800\"}" END,
				   "\"data\"");
}

static void that_a_message_was_redacted_is_said_in_its_metadata_alone(void **state)
{
	(void)state;
	assert_refused("{" BEGINNING ",\"data\":{},\"meta\":{\"a\":1,\"millrace.redacted\":true}" END,
				   "\"meta\"");
	assert_refused("{" BEGINNING ",\"data\":{},\"meta\":{\"millrace\\u002eredacted\":0}" END,
				   "right to remove");
	assert_taken("{" BEGINNING
				 ",\"data\":{\"millrace.redacted\":true},\"meta\":{\"a\":{\"millrace.redacted\":1}}" END);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_postgres_cannot_hold_may_stand_in_what_is_ignored),
		cmocka_unit_test(what_postgres_cannot_hold_is_refused_where_it_would_be_stored),
		cmocka_unit_test(that_a_message_was_redacted_is_said_in_its_metadata_alone),
	};

	return cmocka_run_group_tests_name("import_record", tests, NULL, NULL);
}

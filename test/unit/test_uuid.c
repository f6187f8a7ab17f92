/*
 * test_uuid.c: ids of version 7 rise, and every canonical UUID is read.
 */
#include "unit.h"

#include <time.h>

#include "base/idempotency.h"
#include "base/uuid.h"

static void new_ids_rise_strictly(void **state)
{
	struct uuid_generator generator = {0};
	struct uuid last = uuid_new(&generator);

	(void)state;
	for (int i = 0; i < 200000; i++)
	{
		struct uuid next = uuid_new(&generator);

		if (memcmp(last.bytes, next.bytes, sizeof(next.bytes)) >= 0)
			fail_msg("id %d does not rise", i);
		last = next;
	}
}

static void a_clock_that_steps_back_does_not_make_ids_fall(void **state)
{
	struct uuid_generator generator = {0};
	struct uuid before, after;

	(void)state;
	uuid_new(&generator);
	generator.milliseconds += 60000; /* as if the clock had been a minute ahead */
	before = uuid_new(&generator);
	after = uuid_new(&generator);
	assert_true(memcmp(before.bytes, after.bytes, sizeof(after.bytes)) < 0);
}

static void a_new_id_carries_version_variant_and_time(void **state)
{
	struct uuid_generator generator = {0};
	struct uuid uuid = uuid_new(&generator);
	uint64_t milliseconds = 0;
	struct timespec now;

	(void)state;
	for (int i = 0; i < 6; i++)
		milliseconds = milliseconds << 8 | uuid.bytes[i];
	clock_gettime(CLOCK_REALTIME, &now);
	assert_true((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 - milliseconds <= 5000);
	assert_int_equal(uuid.bytes[6] >> 4, 7);
	assert_int_equal(uuid.bytes[8] >> 6, 2);
}

static void any_version_in_either_case_is_read_and_written_lowercase(void **state)
{
	static const char *const texts[] = {
		"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
		"01A20649-C793-72E3-ACAA-0A9732EE79B0", "550e8400-e29b-41d4-a716-446655440000",
		"6ba7b810-9DAD-11d1-80B4-00c04fd430c8",
	};
	struct uuid uuid;
	char text[UUID_TEXT_LEN + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		char lower[UUID_TEXT_LEN + 1];

		for (int j = 0; j <= UUID_TEXT_LEN; j++)
			lower[j] = (char)(texts[i][j] >= 'A' && texts[i][j] <= 'F' ? texts[i][j] + 32 : texts[i][j]);
		assert_true(uuid_parse(slice_of(texts[i]), &uuid));
		uuid_format(&uuid, text);
		assert_string_equal(text, lower);
	}
}

static void anything_but_the_canonical_form_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"x",
		"550e8400e29b41d4a716446655440000",
		"{550e8400-e29b-41d4-a716-446655440000}",
		"550e8400-e29b-41d4-a716-44665544000",
		"550e8400-e29b-41d4-a716-4466554400000",
		"550e8400-e29b-41d4-a716-44665544000g",
		"550e8400-e29b-41d4-a7164-46655440000",
		"550e8400_e29b-41d4-a716-446655440000",
		"550e8400-e29b-41d4-a716-44665544000 ",
	};
	struct uuid uuid;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		if (uuid_parse(slice_of(texts[i]), &uuid))
			fail_msg("accepted: %s", texts[i]);
	}
}

/* RFC 9562, A.4. */
static void ids_of_names_are_those_of_the_standard(void **state)
{
	char text[UUID_TEXT_LEN + 1];
	char name[UUID_MAX_NAME + 1] = "";
	struct uuid dns, uuid;

	(void)state;
	assert_true(uuid_parse(slice_of("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), &dns));
	assert_true(uuid_of_name(&dns, slice_of("www.example.com"), &uuid));
	uuid_format(&uuid, text);
	assert_string_equal(text, "2ed6657d-e927-568b-95e1-2665a8aea6a2");
	assert_true(uuid_of_name(&dns, (struct slice){name, UUID_MAX_NAME}, &uuid));
	assert_false(uuid_of_name(&dns, (struct slice){name, UUID_MAX_NAME + 1}, &uuid));
}

static void ids_of_keys_never_change(void **state)
{
	static const char *const ids[][2] = {
		{"cd592893-ebe3-5644-b072-d81fe15c28ff", "cb955fd2-37db-51d1-b9cd-c894a4cafd38"},
		{"9896d804-d917-5766-b212-7db1548ff46a", "fafaac85-eb4c-5b3f-bf17-c279bd8f678f"}};
	char text[UUID_TEXT_LEN + 1];
	struct uuid request, id;

	(void)state;
	assert_true(idempotency_request("default", slice_of("order-17"), &request));
	for (unsigned call = 0; call < 2; call++)
	{
		for (unsigned message = 0; message < 2; message++)
		{
			assert_true(idempotency_message(&request, call, message, &id));
			uuid_format(&id, text);
			assert_string_equal(text, ids[call][message]);
		}
	}
}

static void ids_behind_one_rise_strictly_and_stay_below_the_next(void **state)
{
	struct uuid_generator generator = {0};

	(void)state;
	for (int i = 0; i < 1000; i++)
	{
		struct uuid first = uuid_new(&generator), last = uuid_behind(&first, 0), next;

		assert_memory_equal(&first, &last, sizeof(first));
		for (unsigned number = 1; number < 600; number += 7)
		{
			struct uuid behind = uuid_behind(&first, number);

			assert_true(memcmp(&last, &behind, sizeof(last)) < 0);
			last = behind;
		}
		next = uuid_behind(&first, INT32_MAX);
		assert_memory_equal(&first, &next, 8);
		next = uuid_new(&generator);
		assert_true(memcmp(&last, &next, sizeof(last)) < 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_of_names_are_those_of_the_standard),
		cmocka_unit_test(ids_of_keys_never_change),
		cmocka_unit_test(new_ids_rise_strictly),
		cmocka_unit_test(a_clock_that_steps_back_does_not_make_ids_fall),
		cmocka_unit_test(a_new_id_carries_version_variant_and_time),
		cmocka_unit_test(any_version_in_either_case_is_read_and_written_lowercase),
		cmocka_unit_test(anything_but_the_canonical_form_is_refused),
		cmocka_unit_test(ids_behind_one_rise_strictly_and_stay_below_the_next),
	};

	return cmocka_run_group_tests_name("uuid", tests, NULL, NULL);
}

/*
 * test_directory.c: what is known of where a namespace is does not go back, whoever says so, and outlives a
 * start in a file.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "places/directory_internal.h"

/* The thread and its database are left out. */
static struct directory *new_directory(const char *file)
{
	struct directory *directory = calloc(1, sizeof(*directory));

	assert_non_null(directory);
	directory->file = file;
	pthread_rwlock_init(&directory->lock, NULL);
	pthread_mutex_init(&directory->tasks_lock, NULL);
	directory->wake_fd = -1;
	assert_int_equal(directory_add_cluster(directory, "own"), DIRECTORY_OWN);
	assert_int_equal(directory_add_cluster(directory, "b"), 1);
	assert_int_equal(directory_add_cluster(directory, "c"), 2);
	return directory;
}

static void take(struct directory *directory, unsigned cluster, int64_t epoch, uint64_t answer)
{
	directory_take(directory, "n", (struct directory_place){cluster, epoch}, answer);
}

static void expect(struct directory *directory, unsigned cluster, int64_t epoch)
{
	struct placement placement;

	directory_find(directory, "n", &placement);
	assert_int_equal(placement.cluster, cluster);
	assert_int_equal(placement.epoch, epoch);
	assert_int_equal(placement.known, epoch > 0);
}

static void an_entry_does_not_go_back_to_an_earlier_epoch(void **state)
{
	struct directory *directory = new_directory(NULL);

	(void)state;
	expect(directory, DIRECTORY_OWN, 0);
	take(directory, 1, 1, 1);
	expect(directory, 1, 1);
	assert_true(directory_learn(directory, "n", "c", 2));
	assert_false(directory_learn(directory, "n", "b", 2));
	assert_false(directory_learn(directory, "n", "unknown", 9));
	take(directory, 1, 1, 2);
	expect(directory, 2, 2);
	take(directory, 1, 3, 3);
	expect(directory, 1, 3);
	directory_close(directory);
}

static void the_database_counts_again_where_the_stores_do_not_have_what_was_known(void **state)
{
	struct directory *directory = new_directory(NULL);

	(void)state;
	assert_false(directory_yield(directory, "n"));
	take(directory, 1, 1, 1);
	assert_false(directory_yield(directory, "n"));
	assert_true(directory_learn(directory, "n", "c", 2));
	assert_true(directory_yield(directory, "n"));
	expect(directory, 1, 1);
	directory_close(directory);
}

static void a_namespace_that_was_dropped_begins_anew(void **state)
{
	struct directory *directory = new_directory(NULL);

	(void)state;
	take(directory, 1, 5, 1);
	directory_drop(directory, "n");
	expect(directory, 1, 5);
	take(directory, 2, 1, 2);
	expect(directory, 2, 1);
	directory_forget(directory, 3); /* it is not in the whole of the third answer */
	take(directory, 1, 1, 4);
	expect(directory, 1, 1);
	directory_close(directory);
}

static void the_file_has_all_of_it(void **state)
{
	char file[] = "/tmp/test_directory.XXXXXX";
	int fd = mkstemp(file);
	struct directory *directory = new_directory(file), *again;
	struct buf text = {0};

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_true(directory_set_conninfo(directory, 1, "host='a \"b\\' port=1"));
	directory_take(directory, "tab\t, line\n, \"quoted\", \xc3\xa9", (struct directory_place){2, 7}, 1);
	take(directory, 1, INT64_MAX, 1);
	directory_file_write(directory);
	directory_close(directory);

	again = new_directory(file);
	assert_int_equal(directory_file_read(again, &text), DIRECTORY_READ);
	expect(again, 1, INT64_MAX);
	assert_int_equal(directory_conninfo(again, 1, &text), 1);
	assert_string_equal(text.data, "host='a \"b\\' port=1");
	take(again, 2, 1, 1); /* of a database from a backup */
	expect(again, 1, INT64_MAX);
	directory_close(again);
	buf_free(&text);
	unlink(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_does_not_go_back_to_an_earlier_epoch),
		cmocka_unit_test(the_database_counts_again_where_the_stores_do_not_have_what_was_known),
		cmocka_unit_test(a_namespace_that_was_dropped_begins_anew),
		cmocka_unit_test(the_file_has_all_of_it),
	};

	return cmocka_run_group_tests_name("directory", tests, NULL, NULL);
}

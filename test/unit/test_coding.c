/*
 * test_coding.c: who takes gzip: RFC 9110, 12.5.3.
 */
#include "http/coding.h"

#include "unit.h"

static void gzip_is_not_for_those_who_do_not_name_it(void **state)
{
	static const char *const refused[] = {
		"",			  " ",		   ",",			",,;;,",		"identity",		"br, deflate", "gzip;q=0",
		"gzip;q=0.0", "gzip;q=0.", "gzip;Q=0",	"gzip ; q = 0", "gzip;q=",		"gzip;q",	   "gzip;q=2",
		"gzip;q=1.5", "gzip;q=.5", "gzip;q=-1", "gzip;q=0,5",	"gzip;q=1;q=0", "gzip;q=0;x",  "xgzip",
		"gzip2",	  "gz ip",	   "*;q=0",		"*, gzip;q=0",	"gzip;q=0, *",	";gzip",	   "q=1;gzip",
	};

	(void)state;
	assert_false(coding_accepts_gzip((struct slice){NULL, 0}));
	assert_false(coding_accepts_gzip((struct slice){"gzip\0", 5}));
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
	{
		if (coding_accepts_gzip(slice_of(refused[i])))
			fail_msg("%s", refused[i]);
	}
}

static void those_who_name_it_take_it(void **state)
{
	static const char *const accepted[] = {
		"gzip",
		"GZIP",
		"x-gzip",
		"gzip;q=1",
		"gzip;q=1.000",
		"gzip;q=0.001",
		" gzip\t",
		"br,gzip",
		"gzip;level=9",
		"*",
		"br;q=1.0, *;q=0.5",
		"identity;q=0,, gzip , br",
		"deflate, gzip;q=1.0, *;q=0",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++)
	{
		if (!coding_accepts_gzip(slice_of(accepted[i])))
			fail_msg("%s", accepted[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gzip_is_not_for_those_who_do_not_name_it),
		cmocka_unit_test(those_who_name_it_take_it),
	};

	return cmocka_run_group_tests_name("coding", tests, NULL, NULL);
}

/*
 * fuzz_timestamp.c: times are read exactly when a regular expression and the C library's calendar say so, and
 * as what those make of them.  A time that is written as our export writes it is read as what it was.
 */
#include <inttypes.h>
#include <time.h>

#include "pattern.h"
#include "base/timestamp.h"

#define EPOCH_2000 INT64_C(946684800) /* seconds since 1970 */
#define MILLION INT64_C(1000000)
#define MAX_YEAR 294275
#define END_OF_TIME INT64_C(9223371331200000000) /* for Postgres: 294277-01-01 */

enum group
{
	ALL,
	YEAR,
	MONTH,
	DAY,
	CLOCK,
	HOUR,
	MINUTE,
	SECOND,
	FRACTION,
	OFFSET,
	OFFSET_HOUR,
	OFFSET_MINUTE,
	GROUPS
};

static int number(struct slice text, regmatch_t group)
{
	int value = 0;

	for (regoff_t i = group.rm_so; i < group.rm_eo; i++)
		value = value * 10 + (text.bytes[i] - '0');
	return group.rm_so < 0 ? 0 : value;
}

static int64_t fraction(struct slice text, regmatch_t group)
{
	int64_t value = 0;

	for (regoff_t i = 1; i <= 6; i++)
		value = value * 10 + (group.rm_so + i < group.rm_eo ? text.bytes[group.rm_so + i] - '0' : 0);
	return group.rm_so < 0 ? 0 : value;
}

static bool oracle(struct slice text, bool loosely, int64_t *microseconds)
{
	static struct pattern strict, loose;
	regmatch_t g[GROUPS];
	struct tm tm = {0};
	int64_t seconds, offset;
	int month, day;
	bool ok;

	if (loosely)
		ok = pattern_matches(&loose,
							 "^([0-9]{4,6})-([0-9]{2})-([0-9]{2})([Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
							 "(\\.[0-9]{1,9})?([Zz]|[-+ ]([0-9]{2}):([0-9]{2})))?$",
							 text, g, GROUPS);
	else
		ok = pattern_matches(&strict,
							 "^([0-9]{4,6})-([0-9]{2})-([0-9]{2})([Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
							 "(\\.[0-9]{1,9})?([Zz]|[-+]([0-9]{2}):([0-9]{2})))$",
							 text, g, GROUPS);
	if (!ok)
		return false;
	month = number(text, g[MONTH]);
	day = number(text, g[DAY]);
	if (number(text, g[YEAR]) > MAX_YEAR || month < 1 || month > 12 || day < 1 ||
		number(text, g[HOUR]) > 23 || number(text, g[MINUTE]) > 59 || number(text, g[SECOND]) > 60 ||
		number(text, g[OFFSET_HOUR]) > 23 || number(text, g[OFFSET_MINUTE]) > 59)
		return false;
	tm.tm_year = number(text, g[YEAR]) - 1900;
	tm.tm_mon = month - 1;
	tm.tm_mday = day;
	seconds = timegm(&tm);
	/* The C library turns a day that does not exist into another one. */
	if (tm.tm_mday != day)
		return false;
	offset = number(text, g[OFFSET_HOUR]) * 3600 + number(text, g[OFFSET_MINUTE]) * 60;
	if (g[OFFSET].rm_so >= 0 && text.bytes[g[OFFSET].rm_so] == '-')
		offset = -offset;
	seconds += number(text, g[HOUR]) * 3600 + number(text, g[MINUTE]) * 60 + number(text, g[SECOND]) - offset;
	*microseconds = (seconds - EPOCH_2000) * MILLION + fraction(text, g[FRACTION]);
	return true;
}

/* Writes it as our export does. */
static void check_round_trip(int64_t microseconds)
{
	int64_t rest = (microseconds % MILLION + MILLION) % MILLION;
	time_t seconds = (time_t)((microseconds - rest) / MILLION + EPOCH_2000);
	struct tm tm;
	char text[64];
	int64_t again;

	require(gmtime_r(&seconds, &tm) != NULL);
	if (tm.tm_year + 1900 < 0 || tm.tm_year + 1900 > MAX_YEAR)
		return;
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%06" PRId64 "Z", tm.tm_year + 1900,
			 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, rest);
	require(timestamp_parse(slice_of(text), &again) && again == microseconds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = fuzz_slice(data, size);
	int64_t found, expected;

	for (int loosely = 0; loosely < 2; loosely++)
	{
		bool ok = loosely ? timestamp_parse_loosely(text, &found) : timestamp_parse(text, &found);

		require(ok == oracle(text, loosely, &expected));
		if (!ok)
			continue;
		require(found == expected);
		require(found < END_OF_TIME);
		check_round_trip(found);
	}
	if (size >= sizeof(found))
	{
		memcpy(&found, data, sizeof(found));
		check_round_trip(found % (INT64_C(292000) * 31556952 * MILLION));
	}
	return 0;
}

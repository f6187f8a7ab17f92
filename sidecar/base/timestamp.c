/*
 * timestamp.c: reads RFC 3339 (see timestamp.h).
 *
 * Days are counted after Howard Hinnant's "chrono-compatible low-level date algorithms": in years
 * that begin in March the leap day is the last one, and 400 of them are always 146097 days.
 */
#include "base/timestamp.h"

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)
#define DAYS_OF_ERA 146097		/* 400 years */
#define DAYS_BEFORE_2000 730425 /* since 0000-03-01 */
#define MAX_YEAR 294275			/* the last one that Postgres's timestamps hold whole */
#define MAX_FRACTION_DIGITS 9

struct reader
{
	const char *at, *end;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int64_t days_from_civil(int64_t year, int month, int day)
{
	int64_t shifted = month <= 2 ? year + 399 : year + 400; /* never negative */
	int64_t year_of_era = shifted % 400;
	int day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return (shifted / 400 - 1) * DAYS_OF_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
		   day_of_year - DAYS_BEFORE_2000;
}

static int days_of_month(int64_t year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

static bool take_number(struct reader *reader, int min_digits, int max_digits, int64_t *number)
{
	int digits = 0;

	*number = 0;
	while (reader->at < reader->end && is_digit(*reader->at) && digits < max_digits)
	{
		*number = *number * 10 + (*reader->at++ - '0');
		digits++;
	}
	return digits >= min_digits;
}

static bool take_char(struct reader *reader, const char *any_of)
{
	return reader->at < reader->end && *reader->at != '\0' && strchr(any_of, *reader->at) != NULL &&
		   reader->at++ != NULL;
}

/* Two digits up to a bound, with a character before them unless it is NUL. */
static bool take_two(struct reader *reader, char before, int64_t max, int64_t *number)
{
	char allowed[2] = {before};

	return (before == '\0' || take_char(reader, allowed)) && take_number(reader, 2, 2, number) &&
		   *number <= max;
}

static bool take_date(struct reader *reader, int64_t *microseconds)
{
	int64_t year, month, day;

	if (!take_number(reader, 4, 6, &year) || year > MAX_YEAR || !take_two(reader, '-', 12, &month) ||
		month == 0 || !take_two(reader, '-', days_of_month(year, (int)month), &day) || day == 0)
		return false;
	*microseconds = days_from_civil(year, (int)month, (int)day) * DAY;
	return true;
}

static bool take_fraction(struct reader *reader, int64_t *microseconds)
{
	const char *start = reader->at;
	int64_t unit = SECOND / 10;

	for (; reader->at < reader->end && is_digit(*reader->at); reader->at++, unit /= 10)
		*microseconds += (*reader->at - '0') * unit;
	return reader->at > start && reader->at - start <= MAX_FRACTION_DIGITS;
}

static bool take_clock(struct reader *reader, int64_t *microseconds)
{
	int64_t hour, minute, second;

	/* A leap second is the first one of the next minute, as in Postgres. */
	if (!take_two(reader, '\0', 23, &hour) || !take_two(reader, ':', 59, &minute) ||
		!take_two(reader, ':', 60, &second))
		return false;
	*microseconds += (hour * 3600 + minute * 60 + second) * SECOND;
	return !take_char(reader, ".") || take_fraction(reader, microseconds);
}

static bool take_offset(struct reader *reader, const char *pluses, int64_t *microseconds)
{
	int64_t hours, minutes, offset;
	bool east;

	if (take_char(reader, "Zz"))
		return true;
	east = take_char(reader, pluses);
	if ((!east && !take_char(reader, "-")) || !take_two(reader, '\0', 23, &hours) ||
		!take_two(reader, ':', 59, &minutes))
		return false;
	offset = (hours * 3600 + minutes * 60) * SECOND;
	*microseconds += east ? -offset : offset;
	return true;
}

static bool parse(struct slice text, bool loosely, int64_t *microseconds)
{
	struct reader reader;

	if (text.len == 0) /* it may have no bytes */
		return false;
	reader = (struct reader){text.bytes, text.bytes + text.len};
	if (!take_date(&reader, microseconds))
		return false;
	if (loosely && reader.at == reader.end)
		return true;
	return take_char(&reader, "Tt ") && take_clock(&reader, microseconds) &&
		   take_offset(&reader, loosely ? "+ " : "+", microseconds) && reader.at == reader.end;
}

bool timestamp_parse(struct slice text, int64_t *microseconds)
{
	return parse(text, false, microseconds);
}

bool timestamp_parse_loosely(struct slice text, int64_t *microseconds)
{
	return parse(text, true, microseconds);
}

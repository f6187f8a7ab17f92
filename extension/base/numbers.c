/*
 * numbers.c: numbers of JSON, which have any number of digits.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/numbers.h"

/* So many digits are surely in the range of a bigint. */
#define SURE_DIGITS 18

/* So many of a number are shown in an error: it may have 131072 of them. */
#define SHOWN_DIGITS 40

static int
Compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static Numeric
Truncated(Numeric number)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_trunc, NumericGetDatum(number), Int32GetDatum(0)));
}

static const char *
TextOf(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
}

bool
NumberToInt64(Numeric number, int64 least, int64 *value)
{
	const char *string = TextOf(number);
	size_t len = strspn(string, "0123456789");

	if (len <= SURE_DIGITS && string[len] == '\0') /* as nearly always; numerics are slow */
	{
		*value = strtoll(string, NULL, 10);
		return *value >= least;
	}
	if (Compare(number, int64_to_numeric(least)) < 0 || Compare(number, int64_to_numeric(PG_INT64_MAX)) > 0 ||
		Compare(number, Truncated(number)) != 0)
		return false;
	*value = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(number)));
	return true;
}

const char *
NumberText(Numeric number)
{
	const char *string = TextOf(number);

	return strlen(string) > SHOWN_DIGITS ? psprintf("%.*s...", SHOWN_DIGITS, string) : string;
}

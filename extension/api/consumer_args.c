/*
 * consumer_args.c: what the functions of consumers take from their arguments, and from JSON.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "api/consumer.h"
#include "base/errors.h"
#include "base/numbers.h"

/* In ms.  Errors: MR009. */
int64
CheckLease(int64 lease_ms)
{
	if (lease_ms < MIN_LEASE_MS || lease_ms > MAX_LEASE_MS)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("a lease of " INT64_FORMAT " ms is out of range", lease_ms),
						errhint("It is one second to twelve hours.")));
	return lease_ms;
}

/* So many messages at most.  Errors: MR009. */
int
CheckMax(int64 max)
{
	if (max < 1 || max > MAX_CLAIM_MESSAGES)
		ereport(ERROR,
				(errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("max " INT64_FORMAT " is out of range", max),
				 errhint("It is 1 to %d.", MAX_CLAIM_MESSAGES)));
	return (int)max;
}

/* Errors: MR009. */
void
CheckNextRequest(NextRequest *request)
{
	(void)CheckMax(request->max);
	if (request->max_bytes < 1 || request->max_bytes > MAX_CLAIM_BYTES)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("a claim of " INT64_FORMAT " bytes is out of range", request->max_bytes),
						errhint("It is 1 to %d.", MAX_CLAIM_BYTES)));
	if (request->member && VARSIZE_ANY_EXHDR(request->member) > MAX_CONSUMER_NAME)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_TOO_LONG),
						errmsg("member is too long: %d bytes, at most %d are allowed",
							   (int)VARSIZE_ANY_EXHDR(request->member), MAX_CONSUMER_NAME)));
}

/* ---- members of JSON objects ---------------------------------------------------------------------- */

/* A member of an object; NULL: there is none. */
JsonbValue *
Member(JsonbContainer *object, const char *name, JsonbValue *found)
{
	return getKeyJsonValueFromContainer(object, name, (int)strlen(name), found);
}

text *
TextMember(JsonbContainer *object, const char *name)
{
	JsonbValue found;

	if (!Member(object, name, &found) || found.type == jbvNull)
		return NULL;
	if (found.type != jbvString)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("\"%s\" must be a string", name)));
	return cstring_to_text_with_len(found.val.string.val, found.val.string.len);
}

/* A whole number that is not negative; `if_absent` where there is none.  Errors: MR009. */
int64
NumberMember(JsonbContainer *object, const char *name, int64 if_absent)
{
	JsonbValue found;
	int64 number;

	if (!Member(object, name, &found) || found.type == jbvNull)
		return if_absent;
	if (found.type != jbvNumeric)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("\"%s\" must be a number", name)));
	if (!NumberToInt64(found.val.numeric, 0, &number))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("\"%s\" is out of range: %s", name, NumberText(found.val.numeric)),
						errhint("It is a whole number that is not negative.")));
	return number;
}

bool
BoolMember(JsonbContainer *object, const char *name)
{
	JsonbValue found;

	if (!Member(object, name, &found) || found.type == jbvNull)
		return false;
	if (found.type != jbvBool)
		ereport(ERROR,
				(errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("\"%s\" must be true or false", name)));
	return found.val.boolean;
}

/* At most so many bytes of it, in whole characters. */
static text *
Shortened(text *error)
{
	int len;

	if (!error || VARSIZE_ANY_EXHDR(error) <= MAX_ERROR_TEXT)
		return error;
	len = pg_mbcliplen(VARDATA_ANY(error), VARSIZE_ANY_EXHDR(error), MAX_ERROR_TEXT);
	return cstring_to_text_with_len(VARDATA_ANY(error), len);
}

/* Refuses a member that is not among the known ones, MR009. */
void
CheckMembers(JsonbContainer *object, const char *what, const char *const *known, int nknown)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbValue value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		bool is_known = token != WJB_KEY;

		for (int i = 0; !is_known && i < nknown; i++)
			is_known = SliceEqual((Slice){value.val.string.val, value.val.string.len},
								  (Slice){known[i], (int)strlen(known[i])});
		if (!is_known)
			ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
							errmsg("%s has no \"%.*s\"", what, value.val.string.len, value.val.string.val)));
	}
}

/* The object that a value is; MR009 when it is none. */
JsonbContainer *
ObjectOf(const JsonbValue *value, const char *what)
{
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("%s must be an object", what)));
	return value->val.binary.data;
}

/* The elements of an array, at most so many; MR009 when it is none. */
JsonbIterator *
ElementsOf(JsonbContainer *array, const char *what, int most)
{
	if (!JsonContainerIsArray(array) || JsonContainerIsScalar(array) || JsonContainerSize(array) > most)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("%s must be an array of at most %d elements", what, most)));
	return JsonbIteratorInit(array);
}

static void
TakeFailure(JsonbValue *element, Failure *failure)
{
	static const char *const known[] = {"stream", "position", "error", "delayMs", "park"};
	JsonbContainer *object = ObjectOf(element, "a failed message");

	CheckMembers(object, "a failed message", known, lengthof(known));
	failure->stream = TextMember(object, "stream");
	failure->position = NumberMember(object, "position", -1);
	if (!failure->stream || failure->position < 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("a failed message must have a stream and a position")));
	failure->kind = BoolMember(object, "park") ? FAILURE_PARK : FAILURE_RETRY;
	failure->delay_ms = NumberMember(object, "delayMs", -1);
	if (failure->delay_ms > MAX_LEASE_MS)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("delayMs " INT64_FORMAT " is out of range", failure->delay_ms),
						errhint("It is 0 to %d.", MAX_LEASE_MS)));
	failure->error = Shortened(TextMember(object, "error"));
}

/*
 * What is said of a claim.  up_to counts with has_up_to.  failed: an array of {"stream", "position",
 * "error", "delayMs", "park"}, of which the first two must be there.  Errors: MR009 for anything else.
 */
Settlement
MakeSettlement(int64 claim, JsonbContainer *failed, bool release, bool has_up_to, int64 up_to)
{
	Settlement settlement = {.claim = claim, .settled_to = PG_INT64_MAX};
	JsonbIterator *iterator;
	JsonbValue value;
	JsonbIteratorToken token;

	if (release)
		settlement.settled_to = 0;
	if (has_up_to && up_to < 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("up_to " INT64_FORMAT " is out of range", up_to)));
	if (has_up_to)
		settlement.settled_to = up_to;
	if (!failed)
		return settlement;
	iterator = ElementsOf(failed, "failed", MAX_CLAIM_MESSAGES);
	settlement.failures = palloc0(sizeof(Failure) * Max(JsonContainerSize(failed), 1));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			TakeFailure(&value, &settlement.failures[settlement.nfailures++]);
	return settlement;
}

/*
 * consumers.c: the rows of consumers, and what they say.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/numeric.h"

#include "base/errors.h"
#include "consumer/consumer.h"

static const char *const orderings[] = {"stream", "all", "manual"};
static const char *const states[] = {"running", "paused", "stopped"};
static const char *const poisons[] = {"park", "skip", "stop"};

/* Finds a word in a list; what somebody else has written into the table is an error, XX001. */
static int
WordOf(Slice word, const char *const *words, int nwords)
{
	for (int i = 0; i < nwords; i++)
		if (SliceEqual(word, (Slice){words[i], (int)strlen(words[i])}))
			return i;
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("\"%.*s\" is not known to consumers", word.len, word.bytes)));
}

static text *
TextOrNull(const ConsumerRow *row, int column)
{
	return row->isnull[column - 1] ? NULL : DatumGetTextPP(row->value[column - 1]);
}

/* A number among the options; else as it is. */
static int64
NumberOption(Jsonb *options, const char *name, int64 otherwise)
{
	JsonbValue found;

	if (!options || !getKeyJsonValueFromContainer(&options->root, name, (int)strlen(name), &found) ||
		found.type != jbvNumeric)
		return otherwise;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(found.val.numeric)));
}

static OnPoison
PoisonOption(Jsonb *options, ConsumerOrdering ordering)
{
	static const char name[] = "onPoison";
	JsonbValue found;

	if (!options || !getKeyJsonValueFromContainer(&options->root, name, (int)strlen(name), &found) ||
		found.type != jbvString)
		return ordering == ORDERING_ALL ? POISON_STOP : POISON_PARK;
	return WordOf((Slice){found.val.string.val, found.val.string.len}, poisons, lengthof(poisons));
}

static void
SetSource(Consumer *consumer)
{
	const ConsumerRow *row = &consumer->row;
	ReadRequest *source = &consumer->source;

	source->kind = READ_ALL;
	source->name = TextOrNull(row, CONSUMER_CATEGORY);
	if (source->name)
		source->kind = READ_CATEGORY;
	else if ((source->name = TextOrNull(row, CONSUMER_STREAM)) != NULL)
		source->kind = READ_STREAM;
	source->correlation = TextOrNull(row, CONSUMER_CORRELATION);
	if (!row->isnull[CONSUMER_QUERY - 1])
	{
		source->kind = READ_QUERY;
		source->query = QueryRead(DatumGetJsonbP(row->value[CONSUMER_QUERY - 1]), "query");
	}
	if (!row->isnull[CONSUMER_TYPES - 1])
	{
		Datum *types;

		deconstruct_array(DatumGetArrayTypeP(row->value[CONSUMER_TYPES - 1]), TEXTOID, -1, false,
						  TYPALIGN_INT, &types, NULL, &source->ntypes);
		source->types = palloc(sizeof(text *) * Max(source->ntypes, 1));
		for (int i = 0; i < source->ntypes; i++)
			source->types[i] = DatumGetTextPP(types[i]);
	}
	source->limit = NO_LIMIT;
}

/* Finds a consumer by its name; NULL: there is none. */
Consumer *
ConsumerFind(ConsumerTables *tables, text *name)
{
	Consumer *consumer = palloc0(sizeof(Consumer));
	ConsumerRow *row = &consumer->row;
	ScanKeyData key;
	Jsonb *options;

	ScanKeyEntryInitialize(&key, 0, CONSUMER_NAME, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID,
						   F_TEXTEQ, PointerGetDatum(name));
	if (!RowFirst(tables, TABLE_CONSUMERS, tables->key[TABLE_CONSUMERS], &key, 1, ForwardScanDirection, row))
		return NULL;
	consumer->id = DatumGetInt64(row->value[CONSUMER_ID - 1]);
	consumer->name = DatumGetTextPP(row->value[CONSUMER_NAME - 1]);
	consumer->ordering = WordOf(SliceOfText(DatumGetTextPP(row->value[CONSUMER_ORDERING - 1])), orderings,
								lengthof(orderings));
	consumer->state =
		WordOf(SliceOfText(DatumGetTextPP(row->value[CONSUMER_STATE - 1])), states, lengthof(states));
	consumer->reason = TextOrNull(row, CONSUMER_REASON);
	options = row->isnull[CONSUMER_OPTIONS - 1] ? NULL : DatumGetJsonbP(row->value[CONSUMER_OPTIONS - 1]);
	if (options && !JB_ROOT_IS_OBJECT(options))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("the options of consumer \"%s\" are no object", text_to_cstring(name))));
	consumer->lease_ms = NumberOption(options, "leaseMs", DEFAULT_LEASE_MS);
	consumer->max_attempts = (int)NumberOption(options, "maxAttempts", DEFAULT_MAX_ATTEMPTS);
	consumer->max_parked = (int)NumberOption(options, "maxParked", DEFAULT_MAX_PARKED);
	consumer->on_poison = PoisonOption(options, consumer->ordering);
	SetSource(consumer);
	return consumer;
}

static bool
AddName(void *arg, const ConsumerRow *row)
{
	ConsumerNames *names = arg;

	names->names[names->nnames++] = DatumGetTextPP(row->value[CONSUMER_NAME - 1]);
	return names->nnames < MAX_CONSUMERS;
}

/* The names of all consumers of the namespace. */
ConsumerNames *
ConsumersAll(ConsumerTables *tables)
{
	ConsumerNames *names = palloc0(sizeof(ConsumerNames));

	RowEach(tables, TABLE_CONSUMERS, tables->key[TABLE_CONSUMERS], NULL, 0, AddName, names);
	return names;
}

/* As ConsumerFind(); MR016 when there is none. */
Consumer *
ConsumerOpen(ConsumerTables *tables, text *name)
{
	Consumer *consumer = ConsumerFind(tables, name);

	if (!consumer)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_CONSUMER_NOT_FOUND),
						errmsg("consumer \"%s\" does not exist", text_to_cstring(name))));
	return consumer;
}

/* Under the consumer's lock.  The reason may be NULL. */
void
ConsumerSetState(ConsumerTables *tables, Consumer *consumer, ConsumerState state, text *reason)
{
	ConsumerRow *row = &consumer->row;

	consumer->state = state;
	consumer->reason = reason;
	row->value[CONSUMER_STATE - 1] = CStringGetTextDatum(states[state]);
	row->isnull[CONSUMER_REASON - 1] = reason == NULL;
	row->value[CONSUMER_REASON - 1] = PointerGetDatum(reason);
	RowUpdate(tables, TABLE_CONSUMERS, row);
}

const char *
ConsumerStateName(ConsumerState state)
{
	return states[state];
}

/*
 * fuzz_wire.c: what PostgreSQL may send is read as a plainer reader does it that has all of it at once,
 * wherever its bytes are cut, and whether or not the caller keeps an answer.
 */
#include "db/wire.h"
#include "fuzz.h"

#define HEADER 5
#define MAX_INPUT 8192

/* All that is told of what came, in text; "broken" ends it. */
struct story
{
	struct buf text;
	bool broken;
};

static void tell(struct story *story, const char *what, const char *bytes, size_t len)
{
	buf_printf(&story->text, "%s %zu:", what, len);
	buf_add(&story->text, bytes, len);
	buf_add_str(&story->text, "\n");
}

static void tell_fields(struct story *story, const char *what, const char *sqlstate, const char *message)
{
	tell(story, what, sqlstate != NULL ? sqlstate : "?", sqlstate != NULL ? strlen(sqlstate) : 1);
	tell(story, "says", message != NULL ? message : "", message != NULL ? strlen(message) : 0);
}

/* ---- ours -------------------------------------------------------------------------------------- */

static void tell_answer(struct story *story, const struct answer *answer)
{
	if (answer_status(answer) == ANSWER_ERROR)
	{
		tell_fields(story, "error", answer_field(answer, 'C'), answer_message(answer));
		return;
	}
	buf_printf(&story->text, "%s %d %d\n", answer_status(answer) == ANSWER_ROWS ? "rows" : "done",
			   answer_rows(answer), answer_columns(answer));
	for (int row = 0; row < answer_rows(answer); row++)
	{
		for (int column = 0; column < answer_columns(answer); column++)
		{
			struct slice value = answer_value(answer, row, column);

			require(value.bytes[value.len] == '\0');
			tell(story, answer_is_null(answer, row, column) ? "null" : "value", value.bytes, value.len);
		}
	}
}

/* Takes what is there; keeps the last answer, as one does that waits for its sync. */
static void take(struct wire *wire, struct story *story, struct answer *kept)
{
	enum wire_event event;
	struct answer answer;

	while (!story->broken && (event = wire_next(wire, &answer)) != WIRE_MORE)
	{
		if (event == WIRE_ANSWER)
		{
			tell_answer(story, &answer);
			answer_clear(kept);
			*kept = answer;
			continue;
		}
		if (event == WIRE_NOTICE)
			tell_fields(story, "notice", answer_field(&answer, 'C'), answer_message(&answer));
		else if (event == WIRE_READY)
			buf_add_str(&story->text, "ready\n");
		story->broken = event == WIRE_BROKEN;
		answer_clear(&answer);
	}
}

static struct story read_in_steps(struct slice bytes, size_t step)
{
	struct wire *wire = wire_new();
	struct answer kept = {.status = ANSWER_STRANGE};
	struct story story = {0};

	for (size_t at = 0; at < bytes.len && !story.broken; at += step)
	{
		require(wire_take(wire, bytes.bytes + at, bytes.len - at < step ? bytes.len - at : step));
		take(wire, &story, &kept);
	}
	wire_free(wire);
	answer_clear(&kept); /* later than what it was read from */
	return story;
}

/* ---- the oracle ------------------------------------------------------------------------ */

static uint32_t number(struct slice *rest, size_t bytes, bool *sound)
{
	uint32_t value = 0;

	for (size_t i = 0; i < bytes && rest->len > 0; i++, rest->bytes++, rest->len--)
		value = value * 256 + (unsigned char)*rest->bytes;
	*sound = *sound && rest->len > 0;
	return value;
}

static bool tell_row(struct story *story, struct slice row, uint32_t *columns, bool first)
{
	bool sound = row.len >= 2;
	uint32_t count = sound ? (uint32_t)(unsigned char)row.bytes[0] * 256 + (unsigned char)row.bytes[1] : 0;

	if (!sound || (!first && count != *columns))
		return false;
	*columns = count;
	row.bytes += 2;
	row.len -= 2;
	while (count-- > 0)
	{
		uint32_t len;

		if (row.len < 4)
			return false;
		row.len++; /* the last value may be empty */
		len = number(&row, 4, &sound);
		row.len--;
		if (len == UINT32_MAX)
		{
			tell(story, "null", "", 0);
			continue;
		}
		if (len > row.len)
			return false;
		tell(story, "value", row.bytes, len);
		row.bytes += len;
		row.len -= len;
	}
	return row.len == 0;
}

/* A message's fields; NULL: there is no such, or (*sound) they are none. */
static const char *field(struct slice body, char code, bool *sound)
{
	const char *found = NULL;
	size_t at = 0;

	while (at < body.len && body.bytes[at] != '\0')
	{
		size_t end = at;

		while (end < body.len && body.bytes[end] != '\0')
			end++;
		if (body.bytes[at] == code && found == NULL)
			found = body.bytes + at + 1;
		at = end + 1;
	}
	*sound = at + 1 == body.len;
	return found;
}

struct plain
{
	struct story story, rows;
	uint32_t nrows, columns;
};

static bool tell_command(struct plain *plain, struct slice tag)
{
	bool rows = plain->nrows > 0 || (tag.len > 6 && strncmp(tag.bytes, "SELECT", 6) == 0);

	buf_printf(&plain->story.text, "%s %u %u\n", rows ? "rows" : "done", plain->nrows, plain->columns);
	buf_add(&plain->story.text, plain->rows.text.data, plain->rows.text.len);
	return !plain->rows.broken;
}

static void forget_rows(struct plain *plain)
{
	buf_clear(&plain->rows.text);
	plain->rows.broken = false;
	plain->nrows = plain->columns = 0;
}

/* What a function returned is a row of one value. */
static bool tell_result(struct plain *plain, struct slice body)
{
	char row[2 + MAX_INPUT] = {0, 1};

	if (plain->nrows > 0)
		return false;
	memcpy(row + 2, body.bytes, body.len);
	if (!tell_row(&plain->rows, (struct slice){row, 2 + body.len}, &plain->columns, true))
		return false;
	buf_add_str(&plain->story.text, "rows 1 1\n");
	buf_add(&plain->story.text, plain->rows.text.data, plain->rows.text.len);
	forget_rows(plain);
	return true;
}

static bool tell_message(struct plain *plain, char type, struct slice body)
{
	bool sound = true;
	const char *sqlstate, *message;

	switch (type)
	{
		case '2':
		case 'T':
		case 'A':
		case 'S':
			return true;
		case 'D':
			if (!plain->rows.broken)
				plain->rows.broken = !tell_row(&plain->rows, body, &plain->columns, plain->nrows == 0);
			plain->nrows++;
			return true;
		case 'C':
		case 'I':
			if (plain->rows.broken)
				return false;
			sound = tell_command(plain, body);
			forget_rows(plain);
			return sound;
		case 'V':
			return tell_result(plain, body);
		case 'E':
		case 'N':
			sqlstate = field(body, 'C', &sound);
			message = field(body, 'M', &sound);
			if (!sound)
				return false;
			tell_fields(&plain->story, type == 'E' ? "error" : "notice", sqlstate, message);
			if (type == 'E')
				forget_rows(plain);
			return true;
		case 'Z':
			buf_add_str(&plain->story.text, plain->nrows == 0 && body.len == 1 ? "ready\n" : "");
			return plain->nrows == 0 && body.len == 1;
		default:
			return false;
	}
}

static struct story oracle(struct slice bytes)
{
	struct plain plain = {0};

	while (bytes.len >= HEADER && !plain.story.broken)
	{
		struct slice length = {bytes.bytes + 1, HEADER};
		bool sound = true;
		size_t size = number(&length, 4, &sound);

		plain.story.broken =
			size < 4 || size > INT32_MAX || (size > 30000 && memchr("TDENAV", *bytes.bytes, 6) == NULL);
		if (plain.story.broken || bytes.len < 1 + size)
			break;
		plain.story.broken =
			!tell_message(&plain, *bytes.bytes, (struct slice){bytes.bytes + HEADER, size - 4});
		bytes.bytes += 1 + size;
		bytes.len -= 1 + size;
	}
	buf_free(&plain.rows.text);
	return plain.story;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice bytes = fuzz_slice(data, size);
	size_t steps[] = {1, 3, 11, size / 2 + 1, size + 1};
	struct story expected;

	if (size > MAX_INPUT)
		return 0;
	expected = oracle(bytes);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
	{
		struct story found = read_in_steps(bytes, steps[i]);

		require(found.broken == expected.broken);
		require(fuzz_equal((struct slice){found.text.data, found.text.len},
						   (struct slice){expected.text.data, expected.text.len}));
		buf_free(&found.text);
	}
	buf_free(&expected.text);
	return 0;
}

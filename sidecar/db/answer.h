/*
 * answer: what Postgres answered to a statement, as libpq (a PGresult) or our own reader (wire.h) has it; no
 * file outside db includes it.
 *
 * All strings are good until the answer is cleared, and end with a NUL behind their length.
 */
#ifndef MILLRACE_DB_ANSWER_H
#define MILLRACE_DB_ANSWER_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum answer_status
{
	ANSWER_ROWS,
	ANSWER_DONE, /* a command that has none */
	ANSWER_ERROR,
	ANSWER_PASSED_OVER, /* it was not carried out, as another statement of its group failed */
	ANSWER_STRANGE,
};

/* A value of a row: where it begins in the block. */
struct wire_cell
{
	uint32_t at;
	int32_t len; /* -1: NULL */
};

/* Received bytes, and the values in them; freed when nobody refers to it. */
struct wire_block
{
	unsigned refs;
	size_t cap;
	struct wire_cell *cells;
	size_t max_cells;
	char bytes[];
};

struct answer
{
	PGresult *result;		  /* of libpq, owned; NULL: the rest counts */
	struct wire_block *block; /* one reference is owned; NULL: there is nothing in it */
	enum answer_status status;
	unsigned rows, columns;
	size_t fields; /* ANSWER_ERROR and notices: where they begin in the block */
};

void wire_block_release(void *block);

/* Frees what it owns and empties it. */
void answer_clear(struct answer *answer);
enum answer_status answer_status(const struct answer *answer);
int answer_rows(const struct answer *answer);
int answer_columns(const struct answer *answer);
/* NULL is as an empty text.  The row and the column must be there. */
struct slice answer_value(const struct answer *answer, int row, int column);
bool answer_is_null(const struct answer *answer, int row, int column);
/* Of an error or notice, by libpq's PG_DIAG_*; NULL: it has none. */
const char *answer_field(const struct answer *answer, int code);
/* What an error or notice says, for the log. */
const char *answer_message(const struct answer *answer);
/* The bytes of all values. */
uint64_t answer_bytes(const struct answer *answer);
/* Hands the bytes of a value on, with the memory that they are in; the answer is empty then. */
struct piece answer_take(struct answer *answer, struct slice bytes);

#endif

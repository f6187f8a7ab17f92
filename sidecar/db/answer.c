/*
 * answer.c: answers, see answer.h.
 */
#include "db/answer.h"

#include <stdlib.h>
#include <string.h>

void wire_block_release(void *block)
{
	struct wire_block *released = block;

	if (released == NULL || --released->refs > 0)
		return;
	free(released->cells);
	free(released);
}

static void clear_result(void *result)
{
	PQclear(result);
}

void answer_clear(struct answer *answer)
{
	PQclear(answer->result);
	wire_block_release(answer->block);
	*answer = (struct answer){.status = ANSWER_STRANGE};
}

enum answer_status answer_status(const struct answer *answer)
{
	if (answer->result == NULL)
		return answer->status;
	switch (PQresultStatus(answer->result))
	{
		case PGRES_TUPLES_OK:
			return ANSWER_ROWS;
		case PGRES_COMMAND_OK:
			return ANSWER_DONE;
		case PGRES_FATAL_ERROR:
		case PGRES_BAD_RESPONSE:
			return ANSWER_ERROR;
		case PGRES_PIPELINE_ABORTED:
			return ANSWER_PASSED_OVER;
		default:
			return ANSWER_STRANGE;
	}
}

int answer_rows(const struct answer *answer)
{
	return answer->result != NULL ? PQntuples(answer->result) : (int)answer->rows;
}

int answer_columns(const struct answer *answer)
{
	return answer->result != NULL ? PQnfields(answer->result) : (int)answer->columns;
}

static struct wire_cell cell_of(const struct answer *answer, int row, int column)
{
	return answer->block->cells[(size_t)row * answer->columns + (size_t)column];
}

struct slice answer_value(const struct answer *answer, int row, int column)
{
	struct wire_cell cell;

	if (answer->result != NULL)
		return (struct slice){PQgetvalue(answer->result, row, column),
							  (size_t)PQgetlength(answer->result, row, column)};
	cell = cell_of(answer, row, column);
	return cell.len < 0 ? slice_of("") : (struct slice){answer->block->bytes + cell.at, (size_t)cell.len};
}

bool answer_is_null(const struct answer *answer, int row, int column)
{
	return answer->result != NULL ? PQgetisnull(answer->result, row, column)
								  : cell_of(answer, row, column).len < 0;
}

const char *answer_field(const struct answer *answer, int code)
{
	const char *at;

	if (answer->result != NULL)
		return PQresultErrorField(answer->result, code);
	if (answer->block == NULL || answer->fields == 0)
		return NULL;
	for (at = answer->block->bytes + answer->fields; *at != '\0'; at += strlen(at) + 1)
	{
		if (*at == code)
			return at + 1;
	}
	return NULL;
}

const char *answer_message(const struct answer *answer)
{
	const char *message = answer->result != NULL ? PQresultErrorMessage(answer->result)
												 : answer_field(answer, PG_DIAG_MESSAGE_PRIMARY);

	return message != NULL ? message : "";
}

uint64_t answer_bytes(const struct answer *answer)
{
	int rows = answer_rows(answer), columns = answer_columns(answer);
	uint64_t bytes = 0;

	for (int row = 0; row < rows; row++)
	{
		for (int column = 0; column < columns; column++)
			bytes += answer_value(answer, row, column).len;
	}
	return bytes;
}

struct piece answer_take(struct answer *answer, struct slice bytes)
{
	struct piece piece = {.bytes = bytes.bytes, .len = bytes.len};

	piece.release = answer->result != NULL ? clear_result : wire_block_release;
	piece.owner = answer->result != NULL ? (void *)answer->result : answer->block;
	answer->result = NULL;
	answer->block = NULL;
	answer_clear(answer);
	return piece;
}

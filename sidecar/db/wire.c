/*
 * wire.c: what PostgreSQL sends, see wire.h.
 *
 * An answer is given to the caller when all of it is there.  Only then its values are looked for, and ended
 * by a NUL in place of a byte that has been read.
 */
#include "db/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FIRST_BLOCK 16384
#define LEAST_ROOM 4096			   /* for what is received at once */
#define KEEP_BLOCK ((size_t)65536) /* a larger one is not kept when it is used up */
#define HEADER 5				   /* type and length */
#define SHORT_MESSAGE 30000		   /* of a type that is never longer, so that noise is noticed */

static uint32_t number_at(const char *at, unsigned bytes)
{
	uint32_t number = 0;

	while (bytes-- > 0)
		number = number << 8 | (unsigned char)*at++;
	return number;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Its cells refer to no more than 4 GiB. */
static struct wire_block *block_new(size_t cap)
{
	struct wire_block *block = cap <= UINT32_MAX ? malloc(sizeof(*block) + cap) : NULL;

	if (block != NULL)
		*block = (struct wire_block){.refs = 1, .cap = cap};
	return block;
}

struct wire *wire_new(void)
{
	return calloc(1, sizeof(struct wire));
}

void wire_free(struct wire *wire)
{
	if (wire == NULL)
		return;
	wire_block_release(wire->block);
	buf_free(&wire->out);
	free(wire);
}

/* Where others refer to the block what is in use moves to another one, else to its beginning. */
static bool move_to(struct wire *wire, size_t cap)
{
	struct wire_block *old = wire->block, *block = old;
	size_t used = wire->len - wire->start;

	if (old == NULL || old->refs > 1 || cap > old->cap)
		block = block_new(cap);
	if (block == NULL)
		return false;
	if (old != NULL && used > 0)
		memmove(block->bytes, old->bytes + wire->start, used);
	if (block != old)
		wire_block_release(old);
	wire->block = block;
	wire->scan -= wire->start;
	wire->start = 0;
	wire->len = used;
	return true;
}

/* Makes room for so many bytes behind what is there. */
static bool make_room(struct wire *wire, size_t bytes)
{
	size_t cap = wire->block != NULL ? wire->block->cap : FIRST_BLOCK;
	size_t used = wire->len - wire->start;

	if (used == 0 && wire->block != NULL && (wire->block->refs > 1 || cap > KEEP_BLOCK))
	{
		wire_block_release(wire->block);
		wire->block = NULL;
		cap = FIRST_BLOCK;
	}
	if (wire->block != NULL && used == 0)
		wire->start = wire->scan = wire->len = 0;
	if (wire->block != NULL && cap - wire->len >= bytes)
		return true;
	while (cap - used < bytes)
		cap *= 2;
	return move_to(wire, cap);
}

/* How much is to come at least of the message at `scan`; more than one byte only where it is large. */
static size_t wanted(const struct wire *wire)
{
	size_t there = wire->len - wire->scan, size;

	if (there < HEADER)
		return 1;
	size = 1 + (size_t)number_at(wire->block->bytes + wire->scan + 1, 4);
	return size > there ? size - there : 1;
}

bool wire_receive(struct wire *wire, int fd)
{
	ssize_t got;

	if (!make_room(wire, wanted(wire) > LEAST_ROOM ? wanted(wire) : LEAST_ROOM))
		return false;
	got = recv(fd, wire->block->bytes + wire->len, wire->block->cap - wire->len, 0);
	if (got > 0)
		wire->len += (size_t)got;
	return got > 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
}

bool wire_take(struct wire *wire, const char *bytes, size_t len)
{
	if (!make_room(wire, len))
		return false;
	memcpy(wire->block->bytes + wire->len, bytes, len);
	wire->len += len;
	return true;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Room for so many values; there are no more of them than a fourth of the bytes that came. */
static bool reserve_cells(struct wire_block *block, size_t ncells)
{
	size_t max = block->max_cells > 0 ? block->max_cells : 16;
	struct wire_cell *cells;

	if (ncells <= block->max_cells)
		return true;
	while (max < ncells)
		max *= 2;
	cells = realloc(block->cells, max * sizeof(*cells));
	if (cells == NULL)
		return false;
	block->cells = cells;
	block->max_cells = max;
	return true;
}

/* Reads the values of a row, which is the message from `at` to `end`; its end may be overwritten then. */
static bool read_row(struct wire_block *block, struct answer *answer, size_t at, size_t end)
{
	unsigned columns;

	at += HEADER;
	if (end - at < 2)
		return false;
	columns = number_at(block->bytes + at, 2);
	at += 2;
	if ((answer->rows > 0 && columns != answer->columns) || (end - at) / 4 < columns ||
		!reserve_cells(block, ((size_t)answer->rows + 1) * columns))
		return false;
	for (unsigned i = 0; i < columns; i++)
	{
		struct wire_cell *cell = &block->cells[(size_t)answer->rows * columns + i];

		if (end - at < 4)
			return false;
		cell->len = (int32_t)number_at(block->bytes + at, 4);
		block->bytes[at] = '\0'; /* the end of the value before */
		at += 4;
		cell->at = (uint32_t)at;
		if (cell->len < -1 || (cell->len > 0 && (size_t)cell->len > end - at))
			return false;
		at += cell->len > 0 ? (size_t)cell->len : 0;
	}
	answer->columns = columns;
	answer->rows++;
	return at == end;
}

/* Reads all rows between start and the command's end, which is at `last`. */
static bool read_rows(struct wire *wire, struct answer *answer, size_t last)
{
	struct wire_block *block = wire->block;
	size_t at = wire->start;
	char type = block->bytes[at];

	while (at < last)
	{
		size_t end = at + 1 + number_at(block->bytes + at + 1, 4);
		char next = block->bytes[end];

		if (type == 'D')
		{
			if (!read_row(block, answer, at, end))
				return false;
			block->bytes[end] = '\0';
		}
		type = next;
		at = end;
	}
	return true;
}

static void refer(struct answer *answer, struct wire_block *block)
{
	answer->block = block;
	block->refs++;
}

/* A command has ended: gives its answer. */
static enum wire_event end_command(struct wire *wire, struct answer *answer, size_t end)
{
	const char *tag = wire->block->bytes + wire->scan + HEADER;
	bool rows = wire->rows > 0 || (end - wire->scan > HEADER + 6 && memcmp(tag, "SELECT", 6) == 0);

	answer->status = rows ? ANSWER_ROWS : ANSWER_DONE;
	if (!read_rows(wire, answer, wire->scan))
		return WIRE_BROKEN;
	refer(answer, wire->block);
	return WIRE_ANSWER;
}

/* What a function has returned: a row of one value, which moves to have room for its end. */
static enum wire_event end_call(struct wire *wire, struct answer *answer, size_t end)
{
	size_t at = wire->scan + HEADER + 4;
	struct wire_block *block = wire->block;
	int32_t len;

	if (wire->rows > 0 || end < at || !reserve_cells(block, 1))
		return WIRE_BROKEN;
	len = (int32_t)number_at(block->bytes + at - 4, 4);
	if (len < -1 || (size_t)(len < 0 ? 0 : len) != end - at)
		return WIRE_BROKEN;
	memmove(block->bytes + at - 1, block->bytes + at, end - at);
	block->bytes[end - 1] = '\0';
	block->cells[0] = (struct wire_cell){.at = (uint32_t)at - 1, .len = len};
	answer->status = ANSWER_ROWS;
	answer->rows = answer->columns = 1;
	refer(answer, block);
	return WIRE_ANSWER;
}

/* An error or a notice: texts behind a letter each, and a NUL at the end. */
static enum wire_event read_fields(struct wire *wire, struct answer *answer, size_t end,
								   enum wire_event event)
{
	const char *bytes = wire->block->bytes;
	size_t at = wire->scan + HEADER;

	while (at < end && bytes[at] != '\0')
	{
		const char *nul = memchr(bytes + at, '\0', end - at);

		if (nul == NULL)
			return WIRE_BROKEN;
		at = (size_t)(nul - bytes) + 1;
	}
	if (at + 1 != end)
		return WIRE_BROKEN;
	answer->status = ANSWER_ERROR;
	answer->fields = wire->scan + HEADER;
	refer(answer, wire->block);
	return event;
}

/* Of all that a server may tell of itself one thing is of interest here. */
static void read_parameter(struct wire *wire, size_t end)
{
	static const char name[] = "in_hot_standby";
	const char *text = wire->block->bytes + wire->scan + HEADER;
	size_t len = end - wire->scan - HEADER;

	if (len < sizeof(name) + 3 || memcmp(text, name, sizeof(name)) != 0)
		return;
	wire->standby_told = true;
	wire->standby = memcmp(text + sizeof(name), "on", 3) == 0;
}

/* Takes the message from `scan` to `end`; WIRE_MORE: it ends nothing. */
static enum wire_event take_message(struct wire *wire, struct answer *answer, size_t end)
{
	switch (wire->block->bytes[wire->scan])
	{
		case '2': /* bound */
		case 'T': /* columns */
		case 'A': /* NOTIFY */
			return WIRE_MORE;
		case 'S':
			read_parameter(wire, end);
			return WIRE_MORE;
		case 'D':
			wire->rows++;
			return WIRE_MORE;
		case 'C':
		case 'I': /* nothing to do */
			return end_command(wire, answer, end);
		case 'V':
			return end_call(wire, answer, end);
		case 'E':
			return read_fields(wire, answer, end, WIRE_ANSWER);
		case 'N':
			return read_fields(wire, answer, end, WIRE_NOTICE);
		case 'Z':
			return wire->rows == 0 && end - wire->scan == HEADER + 1 ? WIRE_READY : WIRE_BROKEN;
		default:
			return WIRE_BROKEN;
	}
}

enum wire_event wire_next(struct wire *wire, struct answer *answer)
{
	enum wire_event event = WIRE_MORE;

	*answer = (struct answer){.status = ANSWER_STRANGE};
	while (event == WIRE_MORE && wire->len - wire->scan >= HEADER)
	{
		const char *message = wire->block->bytes + wire->scan;
		size_t size = number_at(message + 1, 4);

		if (size < 4 || size > INT32_MAX || (size > SHORT_MESSAGE && memchr("TDENAV", message[0], 6) == NULL))
			return WIRE_BROKEN;
		if (wire->len - wire->scan < 1 + size)
			return WIRE_MORE;
		event = take_message(wire, answer, wire->scan + 1 + size);
		wire->scan += 1 + size;
		if (event == WIRE_ANSWER)
			wire->rows = 0;
		if (event != WIRE_BROKEN && wire->rows == 0)
			wire->start = wire->scan;
	}
	return event;
}

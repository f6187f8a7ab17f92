/*
 * admin_table: rows of a table, as lines of text in columns or as JSON objects.
 */
#ifndef MILLRACE_ADMIN_TABLE_H
#define MILLRACE_ADMIN_TABLE_H

#include "base/buf.h"
#include "base/slice.h"

enum cell_kind
{
	CELL_WORD,	  /* text that is printed as it is */
	CELL_NAME,	  /* text that clients chose: in quotes, control characters escaped */
	CELL_NUMBER,  /* signed */
	CELL_BYTES,	  /* text says KiB and MiB */
	CELL_SECONDS, /* from milliseconds */
};

struct column
{
	const char *name;  /* in JSON */
	const char *title; /* in text */
	int width;		   /* in text, at least */
	enum cell_kind kind;
};

/* By kind: a number, or words. */
struct cell
{
	int64_t number;
	struct slice text;
};

struct table
{
	const struct column *columns;
	unsigned ncolumns;
};

/* The first line of a table as text. */
void table_add_titles(struct buf *out, const struct table *table);
/* As text a line, as JSON an object with a comma behind it. */
void table_add_row(struct buf *out, const struct table *table, const struct cell *cells, bool json);

#endif

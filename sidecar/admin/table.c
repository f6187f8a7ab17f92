/*
 * admin_table: rows of a table; see table.h.
 */
#include "admin/table.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"

#define MAX_NUMBER 32

static bool is_number(const struct column *column)
{
	return column->kind != CELL_WORD && column->kind != CELL_NAME;
}

static void print_bytes(char text[MAX_NUMBER], int64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
	double size = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 10000)
	{
		snprintf(text, MAX_NUMBER, "%" PRId64 " B", bytes);
		return;
	}
	for (; size >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
		size /= 1024;
	snprintf(text, MAX_NUMBER, "%.1f %s", size, units[unit]);
}

static void print_time(char text[MAX_NUMBER], int64_t ms)
{
	int64_t seconds = ms / 1000;

	if (seconds < 60)
		snprintf(text, MAX_NUMBER, "%.1f s", (double)ms / 1000);
	else if (seconds < 3600)
		snprintf(text, MAX_NUMBER, "%d min %d s", (int)(seconds / 60), (int)(seconds % 60));
	else if (seconds < 86400)
		snprintf(text, MAX_NUMBER, "%d h %d min", (int)(seconds / 3600), (int)(seconds / 60 % 60));
	else
		snprintf(text, MAX_NUMBER, "%" PRId64 " d %d h", seconds / 86400, (int)(seconds / 3600 % 24));
}

static void print_number(char text[MAX_NUMBER], const struct column *column, int64_t number)
{
	if (column->kind == CELL_BYTES)
		print_bytes(text, number);
	else if (column->kind == CELL_SECONDS)
		print_time(text, number);
	else
		snprintf(text, MAX_NUMBER, "%" PRId64, number);
}

static void add_text_cell(struct buf *out, const struct column *column, const struct cell *cell)
{
	char text[MAX_NUMBER];

	if (column->kind == CELL_NAME)
		json_add_string(out, cell->text.bytes, cell->text.len);
	else if (column->kind == CELL_WORD)
		buf_printf(out, "%-*.*s", column->width, (int)cell->text.len, cell->text.bytes);
	else
	{
		print_number(text, column, cell->number);
		buf_printf(out, "%*s", column->width, text);
	}
}

static void add_json_cell(struct buf *out, const struct column *column, const struct cell *cell)
{
	buf_printf(out, "\"%s\":", column->name);
	if (!is_number(column))
		json_add_string(out, cell->text.bytes, cell->text.len);
	else if (column->kind == CELL_SECONDS)
		buf_printf(out, "%.3f", (double)cell->number / 1000);
	else
		buf_printf(out, "%" PRId64, cell->number);
}

void table_add_titles(struct buf *out, const struct table *table)
{
	for (unsigned i = 0; i < table->ncolumns; i++)
	{
		const struct column *column = &table->columns[i];

		buf_add_str(out, i > 0 ? "  " : "");
		if (i + 1 == table->ncolumns)
			buf_add_str(out, column->title);
		else
			buf_printf(out, is_number(column) ? "%*s" : "%-*s", column->width, column->title);
	}
	buf_add_str(out, "\n");
}

void table_add_row(struct buf *out, const struct table *table, const struct cell *cells, bool json)
{
	buf_add_str(out, json ? "{" : "");
	for (unsigned i = 0; i < table->ncolumns; i++)
	{
		buf_add_str(out, i == 0 ? "" : json ? "," : "  ");
		(json ? add_json_cell : add_text_cell)(out, &table->columns[i], &cells[i]);
	}
	buf_add_str(out, json ? "}," : "\n");
}

/*
 * admin_connections: /debug/connections, every client, subscription and connection to Postgres.
 *
 * Every worker writes its rows into a page of its own (see inquiry.h); the report puts them together.
 */
#include <string.h>

#include "admin/internal.h"
#include "admin/table.h"
#include "base/url_query.h"
#include "db/db.h"
#include "front/service.h"
#include "live/subscribe.h"
#include "places/places.h"

#define TIMEOUT_MS 2000

enum section_kind
{
	SECTION_CLIENTS,
	SECTION_SUBSCRIPTIONS,
	SECTION_POSTGRES,
	SECTIONS
};

struct page
{
	struct inquiry_part part; /* first: the inquiry hands it over and we cast */
	struct buf rows[SECTIONS];
	unsigned nrows[SECTIONS];
	const char *cluster; /* of the connections that are walked */
};

static const struct inquiry_kind as_text, as_json;

/* ---- the tables ------------------------------------------------------------- */

static const struct column client_columns[] = {
	{"worker", "worker", 6, CELL_NUMBER},	  {"state", "state", 9, CELL_WORD},
	{"age", "age", 11, CELL_SECONDS},		  {"quiet", "quiet", 11, CELL_SECONDS},
	{"bytesIn", "in", 10, CELL_BYTES},		  {"bytesOut", "out", 10, CELL_BYTES},
	{"unsentBytes", "unsent", 9, CELL_BYTES}, {"peer", "peer", 21, CELL_WORD},
	{"path", "request", 0, CELL_WORD},
};

static const struct column subscription_columns[] = {
	{"worker", "worker", 6, CELL_NUMBER},
	{"state", "state", 9, CELL_WORD},
	{"age", "age", 11, CELL_SECONDS},
	{"quiet", "quiet", 11, CELL_SECONDS},
	{"bytesOut", "out", 10, CELL_BYTES},
	{"unsentBytes", "unsent", 9, CELL_BYTES},
	{"position", "position", 10, CELL_NUMBER},
	{"peer", "peer", 21, CELL_WORD},
	{"to", "to", 8, CELL_WORD},
	{"name", "name", 0, CELL_NAME},
	{"namespace", "namespace", 0, CELL_NAME},
};

static const struct column postgres_columns[] = {
	{"worker", "worker", 6, CELL_NUMBER},	{"state", "state", 10, CELL_WORD},
	{"age", "age", 11, CELL_SECONDS},		{"bytesIn", "in", 10, CELL_BYTES},
	{"bytesOut", "out", 10, CELL_BYTES},	{"inFlight", "in flight", 9, CELL_NUMBER},
	{"waiting", "waiting", 7, CELL_NUMBER}, {"pid", "pid", 7, CELL_NUMBER},
	{"for", "for", 15, CELL_WORD},			{"host", "host", 0, CELL_WORD},
	{"port", "port", 0, CELL_WORD},			{"cluster", "cluster", 0, CELL_WORD},
};

static const struct section
{
	const char *name;
	struct table table;
} sections[SECTIONS] = {
	[SECTION_CLIENTS] = {"clients", {client_columns, sizeof(client_columns) / sizeof(client_columns[0])}},
	[SECTION_SUBSCRIPTIONS] = {"subscriptions",
							   {subscription_columns,
								sizeof(subscription_columns) / sizeof(subscription_columns[0])}},
	[SECTION_POSTGRES] = {"postgres",
						  {postgres_columns, sizeof(postgres_columns) / sizeof(postgres_columns[0])}},
};

/* ---- in the worker's thread --------------------------------------------------- */

static struct cell number(uint64_t value)
{
	return (struct cell){.number = (int64_t)value};
}

static struct cell word(const char *text)
{
	return (struct cell){.text = slice_of(text)};
}

static void add_row(struct page *page, enum section_kind section, const struct cell *cells)
{
	table_add_row(&page->rows[section], &sections[section].table, cells,
				  page->part.inquiry->kind == &as_json);
	page->nrows[section]++;
}

static void add_client(void *arg, const struct http_client *client)
{
	struct page *page = arg;
	const struct cell cells[] = {
		number(page->part.worker), word(client->state),		 number(client->age_ms),
		number(client->quiet_ms),  number(client->bytes_in), number(client->bytes_out),
		number(client->unsent),	   word(client->peer),		 {.text = client->path},
	};

	add_row(page, SECTION_CLIENTS, cells);
}

static void add_subscriber(void *arg, const struct subscriber *subscriber)
{
	struct page *page = arg;
	const struct cell cells[] = {
		number(page->part.worker),		  word(subscriber->state),
		number(subscriber->age_ms),		  number(subscriber->client.quiet_ms),
		number(subscriber->bytes_out),	  number(subscriber->client.unsent),
		{.number = subscriber->next},	  word(subscriber->client.peer),
		word(subscriber->source),		  word(subscriber->name),
		word(subscriber->namespace_name),
	};

	add_row(page, SECTION_SUBSCRIPTIONS, cells);
}

static void add_postgres(void *arg, const struct db_connection *connection)
{
	struct page *page = arg;
	const struct cell cells[] = {
		number(page->part.worker),	  word(connection->state),		 number(connection->age_ms),
		number(connection->bytes_in), number(connection->bytes_out), number(connection->in_flight),
		number(connection->waiting),  {.number = connection->pid},	 word(connection->what),
		word(connection->host),		  word(connection->port),		 word(page->cluster),
	};

	add_row(page, SECTION_POSTGRES, cells);
}

static void ask(struct inquiry_part *part, struct service *service, struct places *places)
{
	static const struct service_visitor visitor = {.client = add_client, .subscriber = add_subscriber};

	if (service != NULL)
	{
		service_walk(service, &visitor, part);
		for (struct place *place = places_next(places, 0); place != NULL;
			 place = places_next(places, place->cluster + 1))
		{
			((struct page *)part)->cluster = places_name(places, place);
			db_walk(place->db, add_postgres, part);
		}
	}
	inquiry_answer(part);
}

static void release(struct inquiry_part *part)
{
	struct page *page = (struct page *)part;

	for (int section = 0; section < SECTIONS; section++)
		buf_free(&page->rows[section]);
}

/* ---- the report --------------------------------------------------------------- */

/* A worker's page; NULL: it did not answer, or had no memory for all of it. */
static const struct page *page_of(struct inquiry *inquiry, unsigned worker)
{
	const struct page *page = inquiry_part(inquiry, worker);
	bool whole = page->part.known;

	for (int section = 0; whole && section < SECTIONS; section++)
		whole = !page->rows[section].failed;
	return whole ? page : NULL;
}

static unsigned count_rows(struct inquiry *inquiry, int section)
{
	const struct page *page;
	unsigned count = 0;

	for (unsigned i = 0; i < inquiry->nparts; i++)
	{
		if ((page = page_of(inquiry, i)) != NULL)
			count += page->nrows[section];
	}
	return count;
}

static void add_rows(struct buf *out, struct inquiry *inquiry, int section)
{
	const struct page *page;

	for (unsigned i = 0; i < inquiry->nparts; i++)
	{
		if ((page = page_of(inquiry, i)) != NULL)
			buf_add(out, page->rows[section].data, page->rows[section].len);
	}
}

static void write_text(struct buf *out, struct inquiry *inquiry)
{
	for (int section = 0; section < SECTIONS; section++)
	{
		unsigned nrows = count_rows(inquiry, section);

		buf_printf(out, "%s%s: %u\n", section > 0 ? "\n" : "", sections[section].name, nrows);
		if (nrows > 0)
			table_add_titles(out, &sections[section].table);
		add_rows(out, inquiry, section);
	}
	for (unsigned i = 0; i < inquiry->nparts; i++)
	{
		if (page_of(inquiry, i) == NULL)
			buf_printf(out, "\nworker %u did not answer within %d ms\n", i, TIMEOUT_MS);
	}
}

/* Every row, like everything else here, has a comma behind it, which the last one must lose. */
static void drop_comma(struct buf *out)
{
	if (out->len > 0 && out->data[out->len - 1] == ',')
		buf_truncate(out, out->len - 1);
}

static void write_json(struct buf *out, struct inquiry *inquiry)
{
	buf_add_str(out, "{");
	for (int section = 0; section < SECTIONS; section++)
	{
		buf_printf(out, "\"%s\":[", sections[section].name);
		add_rows(out, inquiry, section);
		drop_comma(out);
		buf_add_str(out, "],");
	}
	buf_add_str(out, "\"silentWorkers\":[");
	for (unsigned i = 0; i < inquiry->nparts; i++)
	{
		if (page_of(inquiry, i) == NULL)
			buf_printf(out, "%u,", i);
	}
	drop_comma(out);
	buf_add_str(out, "]}\n");
}

static void reply_text(struct inquiry *inquiry)
{
	struct buf report = {0};

	write_text(&report, inquiry);
	admin_reply(inquiry->request, ADMIN_TEXT, &report);
}

static void reply_json(struct inquiry *inquiry)
{
	struct buf report = {0};

	write_json(&report, inquiry);
	admin_reply(inquiry->request, "application/json", &report);
}

static const struct inquiry_kind as_text = {sizeof(struct page), TIMEOUT_MS,		ask,
											reply_text,			 admin_end_inquiry, release};
static const struct inquiry_kind as_json = {sizeof(struct page), TIMEOUT_MS,		ask,
											reply_json,			 admin_end_inquiry, release};

/* ---- asking --------------------------------------------------------------------- */

/* False: it is unknown, and that was replied. */
static bool read_format(struct http_request *request, bool *json)
{
	struct buf format = {0};
	bool found = url_query_find(http_query(request), "format", &format);
	struct slice asked = {format.data, format.len};
	bool known;

	*json = found && slice_is(asked, "json");
	known = !found || *json || slice_is(asked, "text");
	buf_free(&format);
	if (!known)
		admin_refuse(request, 400, "format must be text or json");
	return known;
}

void admin_connections(struct admin *admin, struct http_request *request)
{
	struct inquiry *inquiry;
	bool json;

	if (!read_format(request, &json))
		return;
	inquiry = admin_inquiry(admin, request, json ? &as_json : &as_text);
	if (inquiry != NULL)
		inquiry_ask(inquiry);
}

/*
 * admin_connections: /debug/connections, every client, subscription and connection to Postgres.
 *
 * What a worker owns only its own thread may look at.  So every worker is asked, and writes its rows into a
 * page of its own; the last answer, or the end of our patience, sends what there is.
 *
 * The survey belongs to all who hold it: the admin and each worker that was not through yet; the last one frees
 * it.  A page is its worker's until `answered` is set, then the admin's.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "admin/internal.h"
#include "admin/table.h"
#include "base/url_query.h"
#include "db/db.h"
#include "front/service.h"
#include "live/subscribe.h"
#include "serve/worker.h"

#define PATIENCE_MS 2000

enum section_kind
{
	SECTION_CLIENTS,
	SECTION_SUBSCRIPTIONS,
	SECTION_POSTGRES,
	SECTIONS
};

struct page
{
	struct worker_question question; /* first: the worker gets it and we cast */
	struct survey *survey;
	unsigned worker;
	_Atomic bool answered;
	bool shown; /* the admin's: it was answered, in full, when the report was begun */
	struct buf rows[SECTIONS];
	unsigned nrows[SECTIONS];
};

struct survey
{
	_Atomic unsigned holders;
	int answer_fd; /* counts answers */
	bool json;
	unsigned npages;
	struct page pages[]; /* one a worker */
};

/* The admin's side of it. */
struct admin_inquiry
{
	struct admin_inquiry *previous, *next;
	struct admin *admin;
	struct http_request *request;
	struct survey *survey;
	struct event *on_answer;
	unsigned nanswers;
};

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
	{"port", "port", 0, CELL_WORD},
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

static void survey_drop(struct survey *survey)
{
	if (atomic_fetch_sub(&survey->holders, 1) > 1)
		return;
	for (unsigned i = 0; i < survey->npages; i++)
	{
		for (int section = 0; section < SECTIONS; section++)
			buf_free(&survey->pages[i].rows[section]);
	}
	if (survey->answer_fd >= 0)
		close(survey->answer_fd);
	free(survey);
}

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
	table_add_row(&page->rows[section], &sections[section].table, cells, page->survey->json);
	page->nrows[section]++;
}

static void add_client(void *arg, const struct http_client *client)
{
	struct page *page = arg;
	const struct cell cells[] = {
		number(page->worker),	  word(client->state),		number(client->age_ms),
		number(client->quiet_ms), number(client->bytes_in), number(client->bytes_out),
		number(client->unsent),	  word(client->peer),		{.text = client->path},
	};

	add_row(page, SECTION_CLIENTS, cells);
}

static void add_subscriber(void *arg, const struct subscriber *subscriber)
{
	struct page *page = arg;
	const struct cell cells[] = {
		number(page->worker),
		word(subscriber->state),
		number(subscriber->age_ms),
		number(subscriber->client.quiet_ms),
		number(subscriber->bytes_out),
		number(subscriber->client.unsent),
		{.number = subscriber->next},
		word(subscriber->client.peer),
		word(subscriber->source),
		word(subscriber->name),
		word(subscriber->namespace_name),
	};

	add_row(page, SECTION_SUBSCRIPTIONS, cells);
}

static void add_postgres(void *arg, const struct db_connection *connection)
{
	struct page *page = arg;
	const struct cell cells[] = {
		number(page->worker),		  word(connection->state),		 number(connection->age_ms),
		number(connection->bytes_in), number(connection->bytes_out), number(connection->in_flight),
		number(connection->waiting),  {.number = connection->pid},	 word(connection->what),
		word(connection->host),		  word(connection->port),
	};

	add_row(page, SECTION_POSTGRES, cells);
}

static void on_question(struct worker_question *question, struct service *service, struct db *db)
{
	static const struct service_visitor visitor = {.client = add_client, .subscriber = add_subscriber};
	struct page *page = (struct page *)question;
	struct survey *survey = page->survey;
	uint64_t one = 1;

	if (service != NULL)
	{
		service_walk(service, &visitor, page);
		db_walk(db, add_postgres, page);
	}
	atomic_store(&page->answered, true);
	/* Its counter can't be full.  Should it fail all the same, the admin's patience ends. */
	(void)!write(survey->answer_fd, &one, sizeof(one));
	survey_drop(survey);
}

/* ---- the report --------------------------------------------------------------- */

/* Decides which pages the report is made of. */
static void choose_pages(struct survey *survey)
{
	for (unsigned i = 0; i < survey->npages; i++)
	{
		struct page *page = &survey->pages[i];

		page->shown = atomic_load(&page->answered);
		for (int section = 0; page->shown && section < SECTIONS; section++)
			page->shown = !page->rows[section].failed;
	}
}

static unsigned count_rows(const struct survey *survey, int section)
{
	unsigned count = 0;

	for (unsigned i = 0; i < survey->npages; i++)
		count += survey->pages[i].shown ? survey->pages[i].nrows[section] : 0;
	return count;
}

static void add_rows(struct buf *out, const struct survey *survey, int section)
{
	for (unsigned i = 0; i < survey->npages; i++)
	{
		const struct page *page = &survey->pages[i];

		if (page->shown)
			buf_add(out, page->rows[section].data, page->rows[section].len);
	}
}

static void write_text(struct buf *out, const struct survey *survey)
{
	for (int section = 0; section < SECTIONS; section++)
	{
		unsigned nrows = count_rows(survey, section);

		buf_printf(out, "%s%s: %u\n", section > 0 ? "\n" : "", sections[section].name, nrows);
		if (nrows > 0)
			table_add_titles(out, &sections[section].table);
		add_rows(out, survey, section);
	}
	for (unsigned i = 0; i < survey->npages; i++)
	{
		if (!survey->pages[i].shown)
			buf_printf(out, "\nworker %u did not answer within %d ms\n", i, PATIENCE_MS);
	}
}

/* Every row, like everything else here, has a comma behind it, which the last one must lose. */
static void drop_comma(struct buf *out)
{
	if (out->len > 0 && out->data[out->len - 1] == ',')
		buf_truncate(out, out->len - 1);
}

static void write_json(struct buf *out, const struct survey *survey)
{
	buf_add_str(out, "{");
	for (int section = 0; section < SECTIONS; section++)
	{
		buf_printf(out, "\"%s\":[", sections[section].name);
		add_rows(out, survey, section);
		drop_comma(out);
		buf_add_str(out, "],");
	}
	buf_add_str(out, "\"silentWorkers\":[");
	for (unsigned i = 0; i < survey->npages; i++)
	{
		if (!survey->pages[i].shown)
			buf_printf(out, "%u,", i);
	}
	drop_comma(out);
	buf_add_str(out, "]}\n");
}

static void send_report(struct http_request *request, struct survey *survey)
{
	struct buf report = {0};

	choose_pages(survey);
	(survey->json ? write_json : write_text)(&report, survey);
	admin_reply(request, survey->json ? "application/json" : ADMIN_TEXT, &report);
}

/* ---- asking --------------------------------------------------------------------- */

static void inquiry_free(struct admin_inquiry *inquiry)
{
	if (inquiry->previous != NULL)
		inquiry->previous->next = inquiry->next;
	else
		inquiry->admin->inquiries = inquiry->next;
	if (inquiry->next != NULL)
		inquiry->next->previous = inquiry->previous;
	if (inquiry->on_answer != NULL)
		event_free(inquiry->on_answer);
	survey_drop(inquiry->survey);
	free(inquiry);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct admin_inquiry *inquiry = arg;
	uint64_t answers = 0;

	if ((what & EV_READ) && read(fd, &answers, sizeof(answers)) == (ssize_t)sizeof(answers))
		inquiry->nanswers += (unsigned)answers;
	if (!(what & EV_TIMEOUT) && inquiry->nanswers < inquiry->survey->npages)
		return;
	send_report(inquiry->request, inquiry->survey);
	inquiry_free(inquiry);
}

static struct survey *survey_new(unsigned nworkers, bool json)
{
	struct survey *survey = calloc(1, sizeof(*survey) + nworkers * sizeof(survey->pages[0]));

	if (survey == NULL)
		return NULL;
	survey->holders = 1;
	survey->json = json;
	survey->npages = nworkers;
	survey->answer_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (unsigned i = 0; i < nworkers; i++)
	{
		struct page *page = &survey->pages[i];

		page->question.answer = on_question;
		page->survey = survey;
		page->worker = i;
	}
	return survey;
}

/* NULL: out of memory or descriptors. */
static struct admin_inquiry *inquiry_new(struct admin *admin, struct http_request *request, bool json)
{
	/* The timer runs from the first question; an answer begins it anew, and there are few. */
	static const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000,
											.tv_usec = PATIENCE_MS % 1000 * 1000L};
	struct survey *survey = survey_new(admin->nworkers, json);
	struct admin_inquiry *inquiry = survey != NULL ? calloc(1, sizeof(*inquiry)) : NULL;

	if (inquiry == NULL)
	{
		if (survey != NULL)
			survey_drop(survey);
		return NULL;
	}
	*inquiry = (struct admin_inquiry){
		.next = admin->inquiries, .admin = admin, .request = request, .survey = survey};
	if (inquiry->next != NULL)
		inquiry->next->previous = inquiry;
	admin->inquiries = inquiry;
	if (survey->answer_fd >= 0)
		inquiry->on_answer =
			event_new(admin->base, survey->answer_fd, EV_READ | EV_PERSIST, on_answer, inquiry);
	if (inquiry->on_answer != NULL && event_add(inquiry->on_answer, &patience) == 0)
		return inquiry;
	inquiry_free(inquiry);
	return NULL;
}

/* False: it is unknown, and that was replied. */
static bool read_format(struct http_request *request, bool *json)
{
	struct buf format = {0};
	bool asked = url_query_find(http_query(request), "format", &format);
	struct slice word = {format.data, format.len};
	bool known;

	*json = asked && slice_is(word, "json");
	known = !asked || *json || slice_is(word, "text");
	buf_free(&format);
	if (!known)
		admin_refuse(request, 400, "format must be text or json");
	return known;
}

void admin_connections(struct admin *admin, struct http_request *request)
{
	struct admin_inquiry *inquiry;
	bool json;

	if (!read_format(request, &json))
		return;
	inquiry = inquiry_new(admin, request, json);
	if (inquiry == NULL)
	{
		admin_refuse(request, 500, "out of memory or descriptors");
		return;
	}
	for (unsigned i = 0; i < admin->nworkers; i++)
	{
		atomic_fetch_add(&inquiry->survey->holders, 1);
		worker_ask(admin->workers[i], &inquiry->survey->pages[i].question);
	}
}

void admin_connections_end(struct admin *admin)
{
	struct admin_inquiry *next;

	for (struct admin_inquiry *inquiry = admin->inquiries; inquiry != NULL; inquiry = next)
	{
		next = inquiry->next;
		admin_refuse(inquiry->request, 503, "the server stops");
		inquiry_free(inquiry);
	}
}

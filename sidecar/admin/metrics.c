/*
 * admin_metrics: /metrics, in Prometheus's text format 0.0.4.
 *
 * What workers count (base/stats.h) is read where it lies.  How their subscriptions are only they can tell, and which transactions
 * hold readers back only Postgres: so every worker is asked, and the first one that has its database asks that.  The last answer,
 * or the end of our patience, sends what is known.
 *
 * A scrape belongs to all who hold it: the admin, and each worker that was not through yet; the last one frees it.  A part
 * is its worker's until `answered` is set, then the admin's.
 */
#include <libpq-fe.h>
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "admin/internal.h"
#include "base/buf.h"
#include "db/db.h"
#include "base/errors.h"
#include "methods/methods.h"
#include "front/service.h"
#include "base/stats.h"
#include "live/subscribe.h"
#include "base/version.h"
#include "serve/worker.h"

#define PATIENCE_MS 1000
#define MAX_NAMESPACES 20	  /* that are named, each only when */
#define NAMESPACE_MIN_AGE 1.0 /* its oldest transaction is that old, in seconds */
#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct part
{
	struct worker_question question; /* first: the worker gets it and we cast */
	struct scrape *scrape;
	bool asks_postgres;
	_Atomic bool answered;
	struct subscriptions_summary subscriptions;
	/* From Postgres, if it answered: */
	bool knows_appending;
	uint64_t appending;	   /* open transactions that appended */
	double oldest;		   /* s */
	struct buf namespaces; /* finished lines */
};

struct scrape
{
	_Atomic unsigned holders;
	int answer_fd; /* counts answers */
	/* The admin's alone: */
	LIST_ENTRY(scrape) link;
	struct admin *admin;
	struct evhttp_request *request;
	struct event *on_answer;
	unsigned nanswers;

	unsigned nparts;
	struct part parts[]; /* one a worker */
};

/* ---- in the worker's thread --------------------------------------------------- */

static void scrape_drop(struct scrape *scrape)
{
	if (atomic_fetch_sub(&scrape->holders, 1) > 1)
		return;
	for (unsigned i = 0; i < scrape->nparts; i++)
		buf_free(&scrape->parts[i].namespaces);
	if (scrape->answer_fd >= 0)
		close(scrape->answer_fd);
	free(scrape);
}

static void answer(struct part *part)
{
	struct scrape *scrape = part->scrape;
	uint64_t one = 1;

	atomic_store(&part->answered, true);
	/* Its counter can't be full.  Should it fail all the same, the admin's patience ends. */
	(void)!write(scrape->answer_fd, &one, sizeof(one));
	scrape_drop(scrape);
}

/* As the inside of a label's value. */
static void add_label(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++)
	{
		if (*text == '\n')
			buf_add_str(out, "\\n");
		else
		{
			if (*text == '"' || *text == '\\')
				buf_add_str(out, "\\");
			buf_add(out, text, 1);
		}
	}
}

/* The columns of DB_APPENDING. */
enum appending_column
{
	APPENDING_NAMESPACE,
	APPENDING_COUNT,
	APPENDING_AGE,
};

/* The oldest come first; those whose age we may not know come last. */
static void take_appending(struct part *part, const PGresult *result)
{
	int named = 0;

	part->knows_appending = true;
	for (int i = 0; i < PQntuples(result); i++)
	{
		double age = strtod(PQgetvalue(result, i, APPENDING_AGE), NULL);

		part->appending += strtoull(PQgetvalue(result, i, APPENDING_COUNT), NULL, 10);
		if (age > part->oldest)
			part->oldest = age;
		if (age < NAMESPACE_MIN_AGE || named == MAX_NAMESPACES)
			continue;
		named++;
		buf_add_str(&part->namespaces, "millrace_namespace_append_transaction_max_age_seconds{namespace=\"");
		add_label(&part->namespaces, PQgetvalue(result, i, APPENDING_NAMESPACE));
		buf_printf(&part->namespaces, "\"} %.3f\n", age);
	}
}

static void on_appending(void *arg, struct db_reply *reply)
{
	struct part *part = arg;

	if (reply->status == DB_OK)
		take_appending(part, reply->result);
	answer(part);
}

static void on_question(struct worker_question *question, struct service *service, struct db *db)
{
	struct part *part = (struct part *)question;

	if (service != NULL)
		service_summarise(service, &part->subscriptions);
	if (db == NULL || !part->asks_postgres || !db_query(db, DB_APPENDING, NULL, on_appending, part))
		answer(part);
}

/* ---- the format ----------------------------------------------------------------- */

static void add_head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_value(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
	add_head(out, name, type, help);
	buf_printf(out, "%s %" PRIu64 "\n", name, value);
}

/* `label` is a whole pair, or empty; `unit` is what the bounds and the sum are divided by. */
static void add_histogram(struct buf *out, const char *name, const char *label,
						  const struct stats_histogram *histogram, const struct stats_bounds *bounds,
						  double unit)
{
	const char *comma = label[0] != '\0' ? "," : "";
	uint64_t count = 0;

	for (unsigned i = 0; i < bounds->n; i++)
	{
		count += stats_get(&histogram->buckets[i]);
		buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, label, comma,
				   (double)bounds->le[i] / unit, count);
	}
	count += stats_get(&histogram->buckets[bounds->n]);
	buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, label, comma, count);
	buf_printf(out, "%s_sum{%s} %.6f\n%s_count{%s} %" PRIu64 "\n", name, label,
			   (double)stats_get(&histogram->sum) / unit, name, label, count);
}

/* ---- what workers count ------------------------------------------------------------ */

/*
 * Every series with labels that are known is there from the start, with 0: Prometheus sees the first step of a counter only
 * where it saw the counter before.
 */
static void add_calls(struct buf *out, const struct stats *stats)
{
	const char *name;
	char label[64];

	add_head(out, "millrace_requests_total", "counter",
			 "Method calls by method and code of error, OK for none.");
	for (unsigned i = 0; i < STATS_METHODS - 1 && (name = method_counted_name(i)) != NULL; i++)
	{
		for (unsigned code = 0; code < ERROR_CODES; code++)
			buf_printf(out, "millrace_requests_total{method=\"%s\",code=\"%s\"} %" PRIu64 "\n", name,
					   code == ERROR_NONE ? "OK" : error_code_name(code), stats_get(&stats->calls[i][code]));
	}
	/* Of what is no method nothing else is counted. */
	buf_printf(out, "millrace_requests_total{method=\"%s\",code=\"%s\"} %" PRIu64 "\n",
			   method_counted_name(STATS_METHODS - 1), error_code_name(ERROR_METHOD_NOT_FOUND),
			   stats_get(&stats->calls[STATS_METHODS - 1][ERROR_METHOD_NOT_FOUND]));
	add_head(out, "millrace_request_duration_seconds", "histogram",
			 "Time from the start of a method call to its answer.");
	for (unsigned i = 0; i < STATS_METHODS - 1 && (name = method_counted_name(i)) != NULL; i++)
	{
		snprintf(label, sizeof(label), "method=\"%s\"", name);
		add_histogram(out, "millrace_request_duration_seconds", label, &stats->call_us[i], &stats_durations,
					  1e6);
	}
	add_value(out, "millrace_messages_appended_total", "counter", "Messages appended by method calls.",
			  stats_get(&stats->messages_appended));
	add_value(out, "millrace_messages_imported_total", "counter", "Messages stored by imports.",
			  stats_get(&stats->imported));
}

static void add_http(struct buf *out, const struct stats *stats)
{
	const char *route, *status;

	add_head(out, "millrace_http_requests_total", "counter",
			 "HTTP requests that were answered, by path and status.");
	for (unsigned i = 0; i < STATS_ROUTES; i++)
	{
		for (unsigned j = 0; (route = service_route_name(i)) != NULL && j < STATS_STATUSES; j++)
		{
			if ((status = service_status_name(j)) != NULL)
				buf_printf(out, "millrace_http_requests_total{path=\"%s\",code=\"%s\"} %" PRIu64 "\n", route,
						   status, stats_get(&stats->requests[i][j]));
		}
	}
	add_value(out, "millrace_http_connections", "gauge", "Client connections that are open.",
			  stats_get(&stats->connections));
	add_value(out, "millrace_http_connections_accepted_total", "counter",
			  "Client connections that were accepted.", stats_get(&stats->accepted));
	add_value(out, "millrace_http_connections_rejected_total", "counter",
			  "Client connections turned away because there were too many.", stats_get(&stats->turned_away));
	add_value(out, "millrace_http_received_bytes_total", "counter", "Bytes received from clients.",
			  stats_get(&stats->bytes_in));
	add_value(out, "millrace_http_sent_bytes_total", "counter", "Bytes sent to clients.",
			  stats_get(&stats->bytes_out));
}

static void add_database(struct buf *out, const struct stats *stats)
{
	const char *role;

	add_value(out, "millrace_queue_requests", "gauge", "Requests that wait for the database or are with it.",
			  stats_get(&stats->queue_requests));
	add_value(out, "millrace_queue_bytes", "gauge", "The same in bytes.", stats_get(&stats->queue_bytes));
	add_head(out, "millrace_batch_requests", "histogram", "Append requests that shared a transaction.");
	add_histogram(out, "millrace_batch_requests", "", &stats->batch_requests, &stats_sizes, 1);
	add_head(out, "millrace_batch_duration_seconds", "histogram",
			 "Time from sending a batch of appends to the answer that it is committed.");
	add_histogram(out, "millrace_batch_duration_seconds", "", &stats->batch_us, &stats_durations, 1e6);
	add_value(out, "millrace_locked_appends_total", "counter",
			  "Append requests set aside because another session held their stream.",
			  stats_get(&stats->parked));
	add_head(out, "millrace_postgres_connections", "gauge",
			 "Connections to Postgres that are ready, by what they are for.");
	for (unsigned i = 0; (role = db_role_name(i)) != NULL; i++)
		buf_printf(out, "millrace_postgres_connections{role=\"%s\"} %" PRIu64 "\n", role,
				   stats_get(&stats->postgres[i]));
	add_head(out, "millrace_postgres_reconnects_total", "counter", "Connections to Postgres that came back.");
	for (unsigned i = 0; (role = db_role_name(i)) != NULL; i++)
		buf_printf(out, "millrace_postgres_reconnects_total{role=\"%s\"} %" PRIu64 "\n", role,
				   stats_get(&stats->reconnects[i]));
	add_value(out, "millrace_imports_running", "gauge", "Imports under way.", stats_get(&stats->imports));
	add_value(out, "millrace_exports_running", "gauge", "Exports under way.", stats_get(&stats->exports));
}

/* ---- what workers answer -------------------------------------------------------------- */

static void add_subscriptions(struct buf *out, const struct scrape *scrape)
{
	struct subscriptions_summary sum = {.max_lag = 0};

	for (unsigned i = 0; i < scrape->nparts; i++)
	{
		const struct subscriptions_summary *one = &scrape->parts[i].subscriptions;

		if (!atomic_load(&scrape->parts[i].answered))
			continue;
		for (unsigned state = 0; state < SUBSCRIPTION_STATES; state++)
			sum.states[state] += one->states[state];
		if (one->max_lag > sum.max_lag)
			sum.max_lag = one->max_lag;
	}
	add_head(out, "millrace_subscriptions", "gauge", "Subscriptions, by what they do.");
	for (unsigned state = 0; state < SUBSCRIPTION_STATES; state++)
		buf_printf(out, "millrace_subscriptions{state=\"%s\"} %" PRIu64 "\n", subscription_state_names[state],
				   sum.states[state]);
	add_value(out, "millrace_subscription_max_lag_positions", "gauge",
			  "Global positions that the farthest subscription is behind.", sum.max_lag);
}

static void add_appending(struct buf *out, const struct scrape *scrape)
{
	const struct part *part = NULL;

	for (unsigned i = 0; part == NULL && i < scrape->nparts; i++)
	{
		if (atomic_load(&scrape->parts[i].answered) && scrape->parts[i].knows_appending)
			part = &scrape->parts[i];
	}
	add_value(out, "millrace_scrape_postgres_success", "gauge",
			  "1: Postgres told of open transactions; 0: it did not.", part != NULL);
	if (part == NULL)
		return;
	add_value(out, "millrace_append_transactions", "gauge", "Open transactions of any session that appended.",
			  part->appending);
	add_head(out, "millrace_append_transaction_max_age_seconds", "gauge",
			 "Age of the oldest open transaction that appended, 0 for none; readers of its namespace stop "
			 "below it.");
	buf_printf(out, "millrace_append_transaction_max_age_seconds %.3f\n", part->oldest);
	add_head(out, "millrace_namespace_append_transaction_max_age_seconds", "gauge",
			 "The same by namespace, where it is over 1 s, for the 20 oldest.");
	if (!part->namespaces.failed)
		buf_add(out, part->namespaces.data, part->namespaces.len);
}

/* ---- the scrape ----------------------------------------------------------------------- */

static void add_server(struct buf *out, const struct scrape *scrape)
{
	const struct admin *admin = scrape->admin;
	unsigned ready = 0, silent = 0;

	for (unsigned i = 0; i < scrape->nparts; i++)
	{
		ready += worker_ready(admin->workers[i]);
		silent += !atomic_load(&scrape->parts[i].answered);
	}
	add_head(out, "millrace_build_info", "gauge", "Always 1.");
	buf_add_str(out, "millrace_build_info{version=\"" MILLRACE_VERSION "\"} 1\n");
	add_value(out, "millrace_workers", "gauge", "Worker threads.", scrape->nparts);
	add_value(out, "millrace_workers_ready", "gauge", "Worker threads whose connection for appends is there.",
			  ready);
	add_value(out, "millrace_scrape_silent_workers", "gauge",
			  "Worker threads that did not answer in time; their subscriptions are not counted.", silent);
}

/* False: out of memory. */
static bool write_metrics(struct buf *out, const struct scrape *scrape)
{
	struct stats *sum = stats_new();

	if (sum == NULL)
		return false;
	for (unsigned i = 0; i < scrape->nparts; i++)
		stats_sum(sum, worker_stats(scrape->admin->workers[i]));
	add_server(out, scrape);
	add_calls(out, sum);
	add_http(out, sum);
	add_database(out, sum);
	add_subscriptions(out, scrape);
	add_appending(out, scrape);
	admin_add_file_metrics(out, scrape->admin);
	admin_add_process_metrics(out);
	free(sum);
	return !out->failed;
}

static void reply(const struct scrape *scrape)
{
	struct evbuffer *body = evbuffer_new();
	struct buf text = {0};

	if (body != NULL && write_metrics(&text, scrape) && evbuffer_add(body, text.data, text.len) == 0)
		admin_reply(scrape->request, 200, CONTENT_TYPE, body);
	else
		admin_refuse(scrape->request, 500, "out of memory");
	buf_free(&text);
	if (body != NULL)
		evbuffer_free(body);
}

/* The admin is through with it. */
static void scrape_leave(struct scrape *scrape)
{
	LIST_REMOVE(scrape, link);
	if (scrape->on_answer != NULL)
		event_free(scrape->on_answer);
	scrape_drop(scrape);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct scrape *scrape = arg;
	uint64_t answers = 0;

	if ((what & EV_READ) && read(fd, &answers, sizeof(answers)) == (ssize_t)sizeof(answers))
		scrape->nanswers += (unsigned)answers;
	if (!(what & EV_TIMEOUT) && scrape->nanswers < scrape->nparts)
		return;
	reply(scrape);
	scrape_leave(scrape);
}

/* NULL: out of memory or descriptors. */
static struct scrape *scrape_new(struct admin *admin, struct evhttp_request *request)
{
	static const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000,
											.tv_usec = PATIENCE_MS % 1000 * 1000L};
	struct scrape *scrape = calloc(1, sizeof(*scrape) + admin->nworkers * sizeof(scrape->parts[0]));

	if (scrape == NULL)
		return NULL;
	scrape->holders = 1;
	scrape->admin = admin;
	scrape->request = request;
	scrape->nparts = admin->nworkers;
	LIST_INSERT_HEAD(&admin->scrapes, scrape, link);
	scrape->answer_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (scrape->answer_fd >= 0)
		scrape->on_answer =
			event_new(admin->base, scrape->answer_fd, EV_READ | EV_PERSIST, on_answer, scrape);
	if (scrape->on_answer != NULL && event_add(scrape->on_answer, &patience) == 0)
		return scrape;
	scrape_leave(scrape);
	return NULL;
}

void admin_metrics(struct admin *admin, struct evhttp_request *request)
{
	struct scrape *scrape = scrape_new(admin, request);
	bool asked = false;

	if (scrape == NULL)
	{
		admin_refuse(request, 500, "out of memory or descriptors");
		return;
	}
	for (unsigned i = 0; i < admin->nworkers; i++)
	{
		struct part *part = &scrape->parts[i];

		part->question.answer = on_question;
		part->scrape = scrape;
		/* A worker that waits for its database would keep the question until it is back. */
		part->asks_postgres = !asked && worker_ready(admin->workers[i]);
		asked = asked || part->asks_postgres;
		atomic_fetch_add(&scrape->holders, 1);
		worker_ask(admin->workers[i], &part->question);
	}
}

void admin_metrics_end(struct admin *admin)
{
	struct scrape *next;

	for (struct scrape *scrape = LIST_FIRST(&admin->scrapes); scrape != NULL; scrape = next)
	{
		next = LIST_NEXT(scrape, link);
		admin_forget(scrape->request);
		scrape_leave(scrape);
	}
}

/*
 * admin_metrics: /metrics, in Prometheus's text format 0.0.4.
 *
 * What workers count (base/stats.h) is read where it lies.  How their subscriptions are only they can tell,
 * and which transactions hold readers back only Postgres: so every worker is asked (see inquiry.h), and the
 * first one that has its database asks that.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin/consumers.h"
#include "admin/internal.h"
#include "base/buf.h"
#include "db/calls.h"
#include "base/errors.h"
#include "methods/methods.h"
#include "front/request_log.h"
#include "front/service.h"
#include "base/stats.h"
#include "live/subscribe.h"
#include "places/places.h"
#include "base/version.h"
#include "serve/worker.h"

#define PATIENCE_MS 1000
#define MAX_HELD 1000		  /* namespaces that are swept */
#define MAX_NAMESPACES 20	  /* that are named, each only when */
#define NAMESPACE_MIN_AGE 1.0 /* its oldest transaction is that old, in seconds */
#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct answer
{
	struct inquiry_part part; /* first: we cast */
	bool asks_postgres;
	struct subscriptions_summary subscriptions;
	/* From Postgres, if it answered: */
	bool knows_appending;
	uint64_t appending;	   /* open transactions that appended */
	double oldest;		   /* s */
	struct buf namespaces; /* finished lines */
	struct consumer_metrics consumers;
	struct buf held; /* the same of retention */
	struct db *db;
};

/* ---- in the worker's thread --------------------------------------------------- */

/* The oldest come first; those whose age we may not know come last. */
static void take_appending(struct answer *answer, const struct db_reply *reply)
{
	int named = 0;

	answer->knows_appending = true;
	for (unsigned i = 0; i < db_rows_of(reply); i++)
	{
		const struct db_appending found = db_appending_of(reply, i);

		answer->appending += (uint64_t)found.count;
		if (found.oldest > answer->oldest)
			answer->oldest = found.oldest;
		if (found.oldest < NAMESPACE_MIN_AGE || named == MAX_NAMESPACES)
			continue;
		named++;
		buf_add_str(&answer->namespaces,
					"millrace_namespace_append_transaction_max_age_seconds{namespace=\"");
		admin_add_label(&answer->namespaces, found.namespace_name);
		buf_printf(&answer->namespaces, "\"} %.3f\n", found.oldest);
	}
}

static void on_held(void *arg, struct db_reply *reply)
{
	struct answer *answer = arg;

	for (unsigned i = 0; reply->status == DB_OK && i < db_rows_of(reply) && i < MAX_HELD; i++)
	{
		const struct db_held held = db_held_of(reply, i);

		buf_add_str(&answer->held, "millrace_retention_held{namespace=\"");
		admin_add_label(&answer->held, held.namespace_name);
		buf_printf(&answer->held, "\"} %d\n", held.held);
	}
	inquiry_answer(&answer->part);
}

static void on_consumers(void *arg, struct db_reply *reply)
{
	struct answer *answer = arg;

	if (reply->status == DB_OK)
		consumer_metrics_take(&answer->consumers, reply);
	if (reply->status != DB_OK || !db_retention_held(answer->db, on_held, answer))
		inquiry_answer(&answer->part);
}

static void on_appending(void *arg, struct db_reply *reply)
{
	struct answer *answer = arg;

	if (reply->status == DB_OK)
		take_appending(answer, reply);
	if (reply->status != DB_OK || !consumer_metrics_ask(answer->db, on_consumers, answer))
		inquiry_answer(&answer->part);
}

static void ask(struct inquiry_part *asked, struct service *service, struct places *places)
{
	struct answer *answer = (struct answer *)asked;

	if (service != NULL)
		service_summarise(service, &answer->subscriptions);
	answer->db = places != NULL ? places_own(places)->db : NULL;
	if (answer->db == NULL || !answer->asks_postgres || !db_appending(answer->db, on_appending, answer))
		inquiry_answer(asked);
}

static void release(struct inquiry_part *part)
{
	struct answer *answer = (struct answer *)part;

	buf_free(&answer->namespaces);
	buf_free(&answer->held);
	consumer_metrics_free(&answer->consumers);
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
 * Every series with labels that are known is there from the start, with 0: Prometheus sees the first step of
 * a counter only where it saw the counter before.
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
	add_value(out, "millrace_redacted_messages_total", "counter", "Messages redacted by method calls.",
			  stats_get(&stats->messages_redacted));
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
			if ((status = request_status_name(j)) != NULL)
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
			  "Append requests set aside: another session held their stream, or their condition takes long.",
			  stats_get(&stats->parked));
	add_head(out, "millrace_postgres_connections", "gauge",
			 "Connections to Postgres that are ready, by what they are for.");
	for (unsigned i = 0; (role = db_role_name(i)) != NULL; i++)
		buf_printf(out, "millrace_postgres_connections{role=\"%s\"} %" PRIu64 "\n", role,
				   stats_get(&stats->postgres[i]));
	add_value(out, "millrace_reads_from_standby_workers", "gauge",
			  "Worker threads whose reads go to a standby; the others' go to the primary.",
			  stats_get(&stats->standby));
	add_head(out, "millrace_postgres_reconnects_total", "counter", "Connections to Postgres that came back.");
	for (unsigned i = 0; (role = db_role_name(i)) != NULL; i++)
		buf_printf(out, "millrace_postgres_reconnects_total{role=\"%s\"} %" PRIu64 "\n", role,
				   stats_get(&stats->reconnects[i]));
	add_value(out, "millrace_imports_running", "gauge", "Imports under way.", stats_get(&stats->imports));
	add_value(out, "millrace_exports_running", "gauge", "Exports under way.", stats_get(&stats->exports));
}

static void add_removed(struct buf *out, const struct stats *stats)
{
	static const char *const by[STATS_REMOVED] = {
		[REMOVED_BY_TRUNCATE] = "truncate",
		[REMOVED_BY_REMOVE] = "remove",
		[REMOVED_BY_SWEEP] = "sweep",
		[REMOVED_BY_ARCHIVE] = "archive",
	};

	add_head(out, "millrace_removed_messages_total", "counter", "Messages removed.");
	for (unsigned i = 0; i < STATS_REMOVED; i++)
		buf_printf(out, "millrace_removed_messages_total{by=\"%s\"} %" PRIu64 "\n", by[i],
				   stats_get(&stats->removed[i]));
}

static void add_claims(struct buf *out, const struct stats *stats)
{
	add_value(out, "millrace_consumer_claims_total", "counter", "Claims given to members of consumers.",
			  stats_get(&stats->claims_given));
	add_value(out, "millrace_consumer_settled_claims_total", "counter", "Claims settled by method calls.",
			  stats_get(&stats->claims_settled));
	add_value(out, "millrace_consumer_failed_messages_total", "counter",
			  "Messages of claims that were said to have failed.", stats_get(&stats->messages_failed));
	add_value(out, "millrace_consumer_expired_claims_total", "counter",
			  "Claims whose lease was found to have run out.", stats_get(&stats->claims_expired));
	add_value(out, "millrace_consumer_fenced_claims_total", "counter",
			  "Attempts to settle or extend a claim that was lost.", stats_get(&stats->claims_fenced));
}

/* ---- what workers answer -------------------------------------------------------------- */

static void add_subscriptions(struct buf *out, struct inquiry *scrape)
{
	struct subscriptions_summary sum = {.max_lag = 0};

	for (unsigned i = 0; i < scrape->nparts; i++)
	{
		const struct answer *answer = inquiry_part(scrape, i);
		const struct subscriptions_summary *one = &answer->subscriptions;

		if (!answer->part.known)
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

static void add_appending(struct buf *out, struct inquiry *scrape)
{
	const struct answer *answer = NULL;

	for (unsigned i = 0; answer == NULL && i < scrape->nparts; i++)
	{
		const struct answer *one = inquiry_part(scrape, i);

		if (one->part.known && one->knows_appending)
			answer = one;
	}
	add_value(out, "millrace_scrape_postgres_success", "gauge",
			  "1: Postgres told of open transactions; 0: it did not.", answer != NULL);
	if (answer == NULL)
		return;
	add_value(out, "millrace_append_transactions", "gauge", "Open transactions of any session that appended.",
			  answer->appending);
	add_head(out, "millrace_append_transaction_max_age_seconds", "gauge",
			 "Age of the oldest open transaction that appended, 0 for none; readers of its namespace stop "
			 "below it.");
	buf_printf(out, "millrace_append_transaction_max_age_seconds %.3f\n", answer->oldest);
	add_head(out, "millrace_namespace_append_transaction_max_age_seconds", "gauge",
			 "The same by namespace, where it is over 1 s, for the 20 oldest.");
	if (!answer->namespaces.failed)
		buf_add(out, answer->namespaces.data, answer->namespaces.len);
	add_head(out, "millrace_retention_held", "gauge",
			 "1: a consumer held the last sweep of the namespace, 0: none did; of those with policies.");
	if (!answer->held.failed)
		buf_add(out, answer->held.data, answer->held.len);
	consumer_metrics_write(out, answer->consumers.known ? &answer->consumers : NULL);
}

/* ---- the scrape ----------------------------------------------------------------------- */

static void add_server(struct buf *out, struct inquiry *scrape)
{
	unsigned ready = 0, silent = 0;

	for (unsigned i = 0; i < scrape->nparts; i++)
	{
		const struct inquiry_part *part = inquiry_part(scrape, i);

		ready += worker_ready(scrape->inquirer->workers[i]);
		silent += !part->known;
	}
	add_head(out, "millrace_build_info", "gauge", "Always 1.");
	buf_add_str(out, "millrace_build_info{version=\"" MILLRACE_VERSION "\"} 1\n");
	add_value(out, "millrace_workers", "gauge", "Worker threads.", scrape->nparts);
	add_value(out, "millrace_workers_ready", "gauge", "Worker threads whose connection for appends is there.",
			  ready);
	add_value(out, "millrace_scrape_silent_workers", "gauge",
			  "Worker threads that did not answer in time; their subscriptions are not counted.", silent);
}

static void write_metrics(struct buf *out, struct inquiry *scrape)
{
	struct stats *sum = stats_new();

	if (sum == NULL)
	{
		out->failed = true;
		return;
	}
	for (unsigned i = 0; i < scrape->nparts; i++)
		stats_sum(sum, worker_stats(scrape->inquirer->workers[i]));
	add_server(out, scrape);
	add_calls(out, sum);
	add_http(out, sum);
	add_database(out, sum);
	add_removed(out, sum);
	add_claims(out, sum);
	add_subscriptions(out, scrape);
	add_appending(out, scrape);
	admin_add_cluster_metrics(out, scrape->owner);
	admin_add_file_metrics(out, scrape->owner);
	admin_add_process_metrics(out);
	free(sum);
}

static void reply(struct inquiry *scrape)
{
	struct buf text = {0};

	write_metrics(&text, scrape);
	admin_reply(scrape->request, CONTENT_TYPE, &text);
}

void admin_metrics(struct admin *admin, struct http_request *request)
{
	static const struct inquiry_kind kind = {sizeof(struct answer), PATIENCE_MS, ask, reply,
											 admin_end_inquiry,		release};
	struct inquiry *scrape = admin_inquiry(admin, request, &kind);
	bool asked = false;

	if (scrape == NULL)
		return;
	for (unsigned i = 0; i < scrape->nparts && !asked; i++)
	{
		struct answer *answer = inquiry_part(scrape, i);

		/* A worker that waits for its database would keep the question until it is back. */
		asked = answer->asks_postgres = worker_ready(admin->inquirer.workers[i]);
	}
	inquiry_ask(scrape);
}

/*
 * connections: sys.connections; see connections.h.
 *
 * Every worker writes the rows of its clients into a page of its own, see inquiry.h.  One that has more than
 * it may show counts the rest.
 */
#include "serve/connections.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/process_view.h"
#include "front/service.h"
#include "http/http.h"
#include "serve/inquiry.h"

#define TIMEOUT_MS 1000
#define MAX_SHOWN 1000 /* of one worker */

struct connections
{
	struct process_view view;
	struct inquirer inquirer;
	bool ended;
};

/* A call that is asked for. */
struct waiter
{
	void (*done)(void *call, struct slice json);
	void *call;
};

struct page
{
	struct inquiry_part part; /* first: the inquiry hands it over and we cast */
	struct buf rows;
	unsigned nconnections, nsubscriptions;
};

/* ---- in the worker's thread --------------------------------------------------- */

static void add_client(void *arg, const struct http_client *client)
{
	struct page *page = arg;
	struct buf *out = &page->rows;

	if (page->nconnections++ >= MAX_SHOWN)
		return;
	buf_printf(out, "%s{\"worker\":%u,\"remote\":\"%s\",\"state\":\"%s\",\"age\":%.3f,\"quiet\":%.3f",
			   out->len > 0 ? "," : "", page->part.worker, client->peer, client->state,
			   (double)client->age_ms / 1000, (double)client->quiet_ms / 1000);
	buf_printf(out,
			   ",\"requests\":%u,\"bytesIn\":%" PRIu64 ",\"bytesOut\":%" PRIu64
			   ",\"unsentBytes\":%zu,\"path\":",
			   client->requests, client->bytes_in, client->bytes_out, client->unsent);
	json_add_string(out, client->path.bytes, client->path.len);
	buf_add_str(out, "}");
}

static void count_subscriber(void *arg, const struct subscriber *subscriber)
{
	struct page *page = arg;

	(void)subscriber;
	page->nsubscriptions++;
}

static void ask(struct inquiry_part *part, struct service *service, struct places *places)
{
	static const struct service_visitor visitor = {.client = add_client, .subscriber = count_subscriber};

	(void)places;
	if (service != NULL)
		service_walk(service, &visitor, part);
	inquiry_answer(part);
}

static void release(struct inquiry_part *part)
{
	buf_free(&((struct page *)part)->rows);
}

/* ---- in that of the worker that was called -------------------------------------- */

static void finish(struct inquiry *inquiry, struct slice json)
{
	struct waiter waiter = *(struct waiter *)inquiry->owner;

	free(inquiry->owner);
	waiter.done(waiter.call, json);
}

static void end(struct inquiry *inquiry)
{
	finish(inquiry, (struct slice){NULL, 0});
}

static void reply(struct inquiry *inquiry)
{
	unsigned nconnections = 0, nsubscriptions = 0, nsilent = 0;
	struct buf json = {0};
	const char *comma = "";

	buf_add_str(&json, "{\"connections\":[");
	for (unsigned i = 0; i < inquiry->nparts; i++)
	{
		const struct page *page = inquiry_part(inquiry, i);

		if (!page->part.known || page->rows.failed)
		{
			nsilent++;
			continue;
		}
		nconnections += page->nconnections;
		nsubscriptions += page->nsubscriptions;
		if (page->rows.len == 0)
			continue;
		buf_add_str(&json, comma);
		buf_add(&json, page->rows.data, page->rows.len);
		comma = ",";
	}
	buf_printf(&json, "],\"count\":%u,\"subscriptions\":%u,\"silentWorkers\":%u}", nconnections,
			   nsubscriptions, nsilent);
	finish(inquiry, json.failed ? (struct slice){NULL, 0} : (struct slice){json.data, json.len});
	buf_free(&json);
}

static bool list_connections(void *arg, void (*done)(void *call, struct slice json), void *call)
{
	static const struct inquiry_kind kind = {sizeof(struct page), TIMEOUT_MS, ask, reply, end, release};
	struct connections *connections = arg;
	struct waiter *waiter = connections->ended ? NULL : malloc(sizeof(*waiter));
	struct inquiry *inquiry;

	if (waiter == NULL)
		return false;
	*waiter = (struct waiter){done, call};
	inquiry = inquiry_new(&connections->inquirer, &kind, waiter, NULL);
	if (inquiry == NULL)
	{
		free(waiter);
		return false;
	}
	inquiry_ask(inquiry);
	return true;
}

/* ---- life ------------------------------------------------------------------------- */

struct connections *connections_new(struct worker *worker, struct worker *const *workers, unsigned nworkers)
{
	struct connections *connections = calloc(1, sizeof(*connections));

	if (connections == NULL)
		return NULL;
	connections->inquirer.base = worker_base(worker);
	connections->inquirer.workers = workers;
	connections->inquirer.nworkers = nworkers;
	connections->view = (struct process_view){clock_ms(), nworkers, list_connections, connections};
	worker_set_process(worker, &connections->view);
	return connections;
}

void connections_end(struct connections *connections)
{
	if (connections == NULL)
		return;
	connections->ended = true;
	inquiry_end_all(&connections->inquirer);
}

void connections_free(struct connections *connections)
{
	free(connections);
}

/*
 * export.c: the life of one export (see export.h).
 *
 *     export_start -> ask -> on_page -> ask ... -> on_page (the last) -> ask_end ... -> on_end (the last)
 *                      ^________| when drained
 *
 * The end is what is known of messages that are gone, for exports of all of a namespace: floors of streams,
 * and the last global position that was given.  It is read after the messages, or a stream that is removed
 * meanwhile would be in neither.
 *
 * Where the namespace is sealed or has moved the page is asked for again when it is open, wherever that is:
 * positions are the same there.
 *
 * Until the first page is there an error is an ordinary error reply; after that the reply is cut off, which
 * a client sees by the missing last chunk.
 */
#include "bulk/export_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cloudevent.h"
#include "base/errors.h"
#include "http/http.h"
#include "base/clock.h"
#include "base/stats.h"

#define EXPORT_PAGE 1048576
#define GZIP_EXPORT_PAGE 262144 /* smaller: it is compressed in one go, while others wait */
#define GZIP_LEVEL 1
#define GZIP_WINDOW (15 + 16) /* zlib's way to ask for a gzip header */
#define GZIP_MEMORY 8

static void export_free(struct export *export)
{
	stats_add(&db_stats(export->db)->exports, (uint64_t)-1);
	if (export->gzip)
		deflateEnd(&export->deflater);
	buf_free(&export->deflated);
	buf_free(&export->converted);
	buf_free(&export->categories);
	buf_free(&export->query);
	buf_free(&export->after);
	free(export);
}

static void fail(struct export *export, const struct error *error)
{
	struct http_request *request = export->request;
	bool started = export->started;

	if (error != NULL && error_status(error->code) >= 500)
		http_note(request, slice_of(error->message));
	export_free(export);
	if (started)
		http_reply_abort(request);
	else
		http_reply_error(request, error, error_status(error->code), NULL);
}

/* ---- pages ------------------------------------------------------------------------ */

static void on_page(void *arg, struct db_reply *reply);
static void on_end(void *arg, struct db_reply *reply);

static int64_t page_bytes(const struct export *export)
{
	return export->gzip ? GZIP_EXPORT_PAGE : EXPORT_PAGE;
}

static void ask(struct export *export)
{
	const struct db_export in = {
		.namespace_name = export->namespace_name,
		.position = export->position,
		.categories = export->categories.len > 0 ? export->categories.data : NULL,
		.query = export->query.len > 0 ? export->query.data : NULL,
		.since = export->since,
		.until = export->until,
		.before = export->before,
		.max_bytes = page_bytes(export),
		.reading = export->reading,
	};
	const struct db_export_end end = {
		.namespace_name = export->namespace_name,
		.after = export->after.len > 0 ? export->after.data : NULL,
		.began = export->began,
		.last_exported = export->last_exported,
		.max_bytes = page_bytes(export),
		.reading = export->reading,
	};
	struct error error;

	if (export->messages_ended ? db_export_end(export->db, &end, on_end, export)
							   : db_export(export->db, &in, on_page, export))
		return;
	error_set(&error, ERROR_OVERLOADED, "too many requests are waiting");
	fail(export, &error);
}

static void on_drained(void *arg, bool gone)
{
	struct export *export = arg;
	struct http_request *request = export->request;

	if (!gone)
	{
		ask(export);
		return;
	}
	export_free(export);
	http_reply_abort(request);
}

/* Compresses a page into export->deflated; false: out of memory. */
static bool compress_page(struct export *export, struct slice page)
{
	z_stream *z = &export->deflater;
	int result;

	buf_clear(&export->deflated);
	z->next_in = (const unsigned char *)page.bytes;
	z->avail_in = (unsigned)page.len;
	do
	{
		unsigned char out[16384];

		z->next_out = out;
		z->avail_out = sizeof(out);
		result = deflate(z, export->last ? Z_FINISH : Z_NO_FLUSH);
		buf_add(&export->deflated, out, sizeof(out) - z->avail_out);
	} while (z->avail_out == 0 && result == Z_OK);
	return !export->deflated.failed && result != Z_STREAM_ERROR;
}

/* Rewrites a page's lines into export->converted. */
static struct slice convert_page(struct export *export, struct slice page)
{
	struct buf *out = &export->converted;
	const char *end;

	buf_clear(out);
	while (page.len > 0 && (end = memchr(page.bytes, '\n', page.len)) != NULL)
	{
		struct cloudevent event = cloudevent_of_line((struct slice){page.bytes, (size_t)(end - page.bytes)});

		cloudevent_write(out, export->namespace_name, &event);
		buf_add(out, "\n", 1);
		page = (struct slice){end + 1, (size_t)(page.bytes + page.len - end - 1)};
	}
	return (struct slice){out->data, out->len};
}

static void start_reply(struct export *export)
{
	const struct http_reply head = {
		.status = 200,
		.content_type = "application/x-ndjson",
		/* With the token in the URL a proxy would keep it for others. */
		.headers = export->gzip
					   ? "Cache-Control: no-store\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\n"
					   : "Cache-Control: no-store\r\nVary: Accept-Encoding\r\n",
	};

	http_reply_start(export->request, &head);
	export->started = true;
}

/* Where the namespace is open now. */
static void on_open(struct place_wait *wait, const struct error *error)
{
	struct export *export = (struct export *)wait;
	const struct place *place = places_of(export->places, export->namespace_name);

	if (error->code != ERROR_NONE)
	{
		fail(export, error);
		return;
	}
	export->reading.seat = DB_ANYWHERE;
	if (place != NULL)
		export->db = place->db;
	/* What was begun elsewhere compares with nothing here: so every floor may have come since. */
	if (export->began[0] != '\0')
		snprintf(export->began, sizeof(export->began), "0");
	ask(export);
}

static bool waits(struct export *export, const struct db_reply *reply)
{
	struct error error;

	if (!places_refused(reply))
		return false;
	export->wait.done = on_open;
	return places_wait(export->places, export->namespace_name, places_deadline(export->places, clock_ms()),
					   &export->wait, &error);
}

static void describe_failure(const struct export *export, const struct db_reply *reply, struct error *error)
{
	if (reply->status == DB_ERROR)
		error_from_sqlstate(error, reply->error.sqlstate, reply->error.message, reply->error.hint,
							reply->error.pid);
	else if (reply->status == DB_NOT_YET)
	{
		error_set(error, ERROR_NOT_YET_REPLICATED, "%s", reply->error.message);
		snprintf(error->details, sizeof(error->details), "%s", reply->error.detail);
	}
	else
		error_set(error, ERROR_BACKEND_UNAVAILABLE, "%s", db_unavailable(export->db));
}

/* What of the reply's page is sent.  False: out of memory. */
static bool make_body(struct export *export, struct db_reply *reply, struct slice page, struct piece *body)
{
	if (export->cloudevents)
		page = convert_page(export, page);
	if (export->converted.failed || (export->gzip && !compress_page(export, page)))
		return false;
	if (export->gzip)
		*body = (struct piece){.bytes = export->deflated.data, .len = export->deflated.len};
	else if (export->cloudevents)
		*body = (struct piece){.bytes = page.bytes, .len = page.len};
	else
		*body = db_take(reply, page);
	return true;
}

/* Sends a page; then the export goes on, has ended, or failed. */
static void send_page(struct export *export, struct db_reply *reply, struct slice page)
{
	struct http_request *request = export->request;
	struct piece body;

	if (!export->started)
		start_reply(export);
	if (!make_body(export, reply, page, &body))
	{
		export_free(export);
		http_reply_abort(request);
		return;
	}
	http_reply_part(request, &body, 1);
	if (!export->last)
	{
		http_reply_when_drained(request, on_drained, export);
		return;
	}
	export_free(export);
	http_reply_end(request);
}

/* Of a session that is gone, the primary goes on: it is not behind what was read there. */
static bool check_reply(struct export *export, const struct db_reply *reply)
{
	struct error error;

	if (reply->status == DB_OK)
	{
		export->reading = (struct db_reading){.seat = reply->seat}; /* which has min_position */
		return true;
	}
	if (reply->status == DB_GONE)
	{
		export->reading.seat = DB_AT_PRIMARY;
		ask(export);
		return false;
	}
	if (waits(export, reply))
		return false;
	describe_failure(export, reply, &error);
	fail(export, &error);
	return false;
}

/* Events have no lines but messages. */
static bool is_whole(const struct export *export)
{
	return export->categories.len == 0 && !export->since.is_set && !export->until.is_set &&
		   !export->before.is_set && export->query.len == 0 && !export->cloudevents;
}

static void on_page(void *arg, struct db_reply *reply)
{
	struct export *export = arg;
	struct db_exported exported;

	if (!check_reply(export, reply))
		return;
	exported = db_exported_of(reply);
	if (export->began[0] == '\0')
		snprintf(export->began, sizeof(export->began), "%s", exported.began);
	if (exported.last.is_set)
		export->last_exported = exported.last.value;
	if (exported.page.next.is_set)
		export->position = exported.page.next.value;
	else
		export->messages_ended = true;
	export->last = export->messages_ended && !is_whole(export);
	send_page(export, reply, exported.page.body);
}

static void on_end(void *arg, struct db_reply *reply)
{
	struct export *export = arg;
	struct db_export_ended ended;

	if (!check_reply(export, reply))
		return;
	ended = db_export_ended_of(reply);
	export->last = ended.next == NULL;
	buf_clear(&export->after);
	if (ended.next != NULL)
		buf_add(&export->after, ended.next, strlen(ended.next) + 1);
	send_page(export, reply, ended.body);
}

/* ---- the beginning ------------------------------------------------------------------ */

static void prepare_gzip(struct export *export)
{
	if (http_accepts_gzip(export->request))
		export->gzip = deflateInit2(&export->deflater, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
									Z_DEFAULT_STRATEGY) == Z_OK;
}

void export_start(struct places *places, const struct place *place, const char *namespace_name,
				  size_t max_running, struct http_request *request)
{
	struct export *export;
	struct error error;

	if (stats_get(&db_stats(place->db)->exports) >= max_running)
	{
		error_set(&error, ERROR_OVERLOADED, "%zu exports are running, which is the limit (--max-exports)",
				  max_running);
		http_note(request, slice_of(error.message));
		http_reply_error(request, &error, error_status(error.code), NULL);
		return;
	}
	export = calloc(1, sizeof(*export));
	if (export == NULL)
	{
		error_set(&error, ERROR_INTERNAL_ERROR, "out of memory");
		http_reply_error(request, &error, error_status(error.code), NULL);
		return;
	}
	export->places = places;
	export->db = place->db;
	stats_add(&db_stats(export->db)->exports, 1);
	export->request = request;
	snprintf(export->namespace_name, sizeof(export->namespace_name), "%s", namespace_name);
	export->position = 1;
	if (!export_read_request(export, &error))
	{
		fail(export, &error);
		return;
	}
	prepare_gzip(export);
	ask(export);
}

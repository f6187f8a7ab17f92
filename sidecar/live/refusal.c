/*
 * refusal.c: subscriptions whose query can't be answered: it is none, or there is no index for it (see
 * subscription.h).
 *
 * Postgres says so.  Before the reply begins it is an error's status; later, as when the index was dropped or
 * the token could not be checked at first, it is the event `error`, with which the reply ends.  So nothing is
 * left out unnoticed.
 */
#include "live/subscription.h"

#include <stdlib.h>
#include <string.h>

#include "base/errors.h"
#include "db/calls_feed.h"
#include "http/http.h"
#include "http/sse.h"
#include "live/params.h"
#include "places/places.h"

#define REFUSAL_EVENT "error"

struct check
{
	struct subscriptions *all;
	struct http_request *request; /* which has no reply yet, so that it stays */
	const struct claim *claim;
	subscription_checked done;
};

bool subscription_is_refused(const struct db_reply *reply, struct error *error)
{
	if (reply->status != DB_ERROR)
		return false;
	error_from_sqlstate(error, reply->error.sqlstate, reply->error.message, reply->error.hint,
						reply->error.pid);
	return error->code == ERROR_INVALID_REQUEST;
}

void subscription_refuse(struct subscription *s, const struct error *error)
{
	struct buf data = {0}, text = {0};

	error_write_body(&data, error);
	sse_add_event(&text, &(struct sse_event){.name = REFUSAL_EVENT, .data = {data.data, data.len}},
				  s->listener.filter.chunked);
	if (!text.failed && !data.failed)
		subscription_send(s, text.data, text.len);
	buf_free(&data);
	buf_free(&text);
	subscription_end(s);
}

static void on_checked(void *arg, struct db_reply *reply)
{
	const struct check check = *(struct check *)arg;
	struct error error;
	bool refused = reply->status == DB_NOT_YET || subscription_is_refused(reply, &error);

	free(arg);
	if (reply->status == DB_NOT_YET)
		error_set(&error, ERROR_NOT_YET_REPLICATED, "%s", reply->error.message);
	check.done(check.all, check.request, check.claim, refused ? &error : NULL);
}

bool subscription_check(struct subscriptions *all, struct http_request *request, const struct claim *claim,
						const struct subscribe_params *params, subscription_checked done)
{
	struct check *check = malloc(sizeof(*check));
	const struct place *place;
	/* A page behind the last position, of nothing. */
	const struct db_read_pokes in = {
		.namespace_name = claim->name,
		.position = INT64_MAX,
		.below = 1,
		.max_bytes = 1,
		.query = params->filter.source == FEED_QUERY ? params->text.data : NULL,
		.reading = {.min_position = params->min_position},
	};

	if (check == NULL)
		return false;
	*check = (struct check){.all = all, .request = request, .claim = claim, .done = done};
	place = places_of(all->places, claim->name);
	if (place != NULL && db_read_pokes(place->db, &in, on_checked, check))
		return true;
	free(check);
	return false;
}

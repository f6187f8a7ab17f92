/*
 * feed.c: one feed (see feed.h and feed_internal.h).
 *
 * A feed has at most one question with Postgres.  It asks for messages when it was woken by an append or an
 * import through this process, after a gap that grows with what the last answer brought, so that under load
 * one answer serves many appends; when Postgres tells that something was committed (watch.c); and otherwise
 * when its timer runs out.  Each second, and whenever a namespace or token changed here, it first asks for
 * its state: whether the namespace is still the same one and the token may still read it.
 *
 * A listener that wants to follow from a little below the feed's position (it moved on while the listener
 * read up to it) joins at the next question, which begins that much lower; what others have is not handed to
 * them again.
 *
 * When a connection to Postgres was lost and is back, the feed begins anew.  Its position may come from
 * messages that were not committed, and whose positions a crashed Postgres gives out again.
 *
 * All that a feed and its listeners read is read where its position comes from: at the primary, or in one
 * session with a standby: another one that is behind would seem to lack what is below the position.  When
 * that is gone the feed begins anew elsewhere, perhaps below what its listeners were told.
 */
#include "live/feed.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "db/db.h"
#include "live/feed_internal.h"
#include "base/log.h"

#define PAGE_ROWS 500
#define FEED_PAGE_BYTES 1048576 /* of whole messages */
#define POLL_BUSY_MS 10
#define POLL_IDLE_MS 25
#define BUSY_MS 1000 /* after the last message */
#define CHECK_MS 1000
#define RETRY_MS 250
#define MAX_GAP_MS 2
#define ROWS_PER_GAP_MS 8
#define WAITERS_AT_ONCE 4

static void feed_ask(struct feed *feed);
/* ---- the life of a feed --------------------------------------------------------- */

static void feed_close(struct feed *feed)
{
	feed_table_remove(feed);
	event_del(&feed->timer);
	feed->closed = true;
	if (feed->asked == FEED_ASKED_PLACE)
		places_leave(&feed->wait);
	if (feed->asked == FEED_ASKED_NOTHING || feed->asked == FEED_ASKED_PLACE)
		free(feed);
}

/* The namespace is gone: so is the feed.  Called with an answer only, so it is not freed here. */
static void feed_end(struct feed *feed)
{
	feed_table_remove(feed); /* a listener that comes now gets a new one */
	event_del(&feed->timer);
	listeners_end(feed, NULL);
	feed->closed = true;
}

/* ---- answers ----------------------------------------------------------------------- */

static bool is_same_generation(const struct feed *feed)
{
	return feed->generation == atomic_load(feed->feeds->options.generation);
}

static bool is_same_connection(const struct feed *feed)
{
	return feed->reconnects == db_reconnects(feed->place->db);
}

static bool is_sure(const struct feed *feed)
{
	return is_same_generation(feed) && is_same_connection(feed);
}

static void restart(struct feed *feed)
{
	feed->position = 0;
	feed->seat = DB_ANYWHERE;
	listeners_restart(feed);
}

static void schedule(struct feed *feed, uint64_t ms)
{
	struct timeval delay = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

	event_add(&feed->timer, &delay);
}

/* With many feeds the timers slow down: together they ask no more than a thousand times a second. */
static uint64_t poll_interval(const struct feed *feed, uint64_t now)
{
	bool busy = !clock_passed(now, feed->traffic_ms, BUSY_MS) || !TAILQ_EMPTY(&feed->waiting);
	uint64_t interval = busy ? POLL_BUSY_MS : POLL_IDLE_MS;

	if (!busy && feeds_watch(feed->feeds, feed->place, now))
		interval = CHECK_MS;
	return interval > feed->feeds->nfeeds ? interval : feed->feeds->nfeeds;
}

/* When to ask next. */
static void schedule_next(struct feed *feed, bool more)
{
	uint64_t now = clock_ms();

	if (more || feed->elsewhere || !TAILQ_EMPTY(&feed->joining) ||
		(feed->woken && now >= feed->not_before_ms))
		feed_ask(feed);
	else if (feed->woken)
		schedule(feed, clock_span(now, feed->not_before_ms));
	else
		schedule(feed, poll_interval(feed, now));
}

/* True when the answer is one; else the feed ends, or asks elsewhere, or again later. */
static bool check_answer(struct feed *feed, const struct db_reply *reply)
{
	if (places_refused(reply))
	{
		feed->elsewhere = true;
		return false;
	}
	if (reply->status == DB_OK)
	{
		if (feed->failing)
			log_info("the subscriptions of namespace %s go on", feed->name);
		feed->failing = false;
		return true;
	}
	if (reply->status == DB_ERROR && strcmp(reply->error.sqlstate, SQLSTATE_NAMESPACE_NOT_FOUND) == 0)
	{
		feed_end(feed);
		return false;
	}
	if (reply->status == DB_GONE)
	{
		restart(feed);
		schedule(feed, 0);
		return false;
	}
	if (!feed->failing)
		log_warning("the subscriptions of namespace %s are waiting: %s", feed->name,
					reply->status == DB_ERROR ? reply->error.message : "the database is not available");
	feed->failing = true;
	schedule(feed, RETRY_MS);
	return false;
}

/* Every answer ends with this.  False: the feed was closed meanwhile, and is freed now. */
static bool end_answer(struct feed *feed)
{
	feed->asked = FEED_ASKED_NOTHING;
	feed_queries_answered(feed);
	if (!feed->closed)
		return true;
	free(feed);
	return false;
}

/* False: it is another namespace by now. */
static bool is_same_namespace(const struct feed *feed, const struct db_feed_state *state)
{
	return state->exists && strcmp(feed->created_at, state->created_at) == 0;
}

/* False: it has ended, or begins anew. */
static bool take_tokens(struct feed *feed, const struct db_feed_state *state)
{
	if (feed->feeds->options.check_tokens)
		listeners_end(feed, state->refused);
	if (feed->nlisteners == 0)
	{
		feed_end(feed);
		return false;
	}
	feed->checked_ms = clock_ms();
	feed->doubtful = !is_same_generation(feed);
	if (feed->asked_head || feed->seat != DB_AT_PRIMARY || !db_reads_from_standby(feed->place->db))
		return true;
	feed->primary_only = false;
	restart(feed);
	return false;
}

/* Whether what the database said means that the namespace is at another one. */
static bool is_elsewhere(const struct feed *feed, const struct db_feed_state *state)
{
	struct places *places = feed->feeds->places;

	return (state->exists || places_directory(places) != NULL) &&
		   places_judge(places, feed->place, feed->name, &state->place) == PLACE_ELSEWHERE;
}

static void take_state(struct feed *feed, const struct db_feed_state *state, uint64_t seat)
{
	feed->elsewhere = is_elsewhere(feed, state);
	if (feed->elsewhere)
		return;
	if (feed->created_at[0] == '\0' && state->exists)
		snprintf(feed->created_at, sizeof(feed->created_at), "%s", state->created_at);
	if (!is_same_namespace(feed, state))
	{
		feed->primary_only = seat > DB_AT_PRIMARY && !feed->asked_tokens;
		if (!feed->primary_only)
			feed_end(feed);
		return;
	}
	if (feed->asked_tokens && !take_tokens(feed, state))
		return;
	if (feed->asked_head)
	{
		feed->position = feed->next_read = state->head;
		feed->seat = seat;
		listeners_release(feed, UINT32_MAX);
	}
}

static void on_state(void *arg, struct db_reply *reply)
{
	struct feed *feed = arg;

	if (!feed->closed && check_answer(feed, reply))
	{
		const struct db_feed_state state = db_feed_state_of(reply);

		take_state(feed, &state, reply->seat);
	}
	if (end_answer(feed) && !feed->failing)
		feed_ask(feed);
}

/* True when the page was cut, so that there is more. */
static bool is_full(const struct feed *feed, const struct db_reply *reply, int rows)
{
	size_t bytes = 0;

	if (rows == PAGE_ROWS)
		return true;
	for (int i = 0; feed->asked_whole && i < rows; i++)
		bytes += db_feed_message(reply, i).len;
	return bytes >= FEED_PAGE_BYTES;
}

/* Returns whether there is more to be had at once. */
static bool take_messages(struct feed *feed, const struct db_reply *reply)
{
	int rows = db_feed_rows(reply);
	bool full = is_full(feed, reply, rows);
	int64_t end = feed->asked_from;
	uint64_t now = clock_ms();
	uint64_t gap = (uint64_t)rows / ROWS_PER_GAP_MS;

	if (rows > 0)
	{
		feed->traffic_ms = now;
		end = db_feed_global_position(reply, rows - 1) + 1;
	}
	channel_dispatch(feed, reply);
	/* Below the position everything is final: what was not in an uncut page is not there. */
	if (!full && end < feed->position)
		end = feed->position;
	feed->next_read = end;
	if (end > feed->position)
		feed->position = end;
	feed->not_before_ms = now + (gap < MAX_GAP_MS ? gap : MAX_GAP_MS);
	listeners_release(feed, WAITERS_AT_ONCE);
	return full || end < feed->position;
}

static void on_messages(void *arg, struct db_reply *reply)
{
	struct feed *feed = arg;
	bool more = false;

	if (!feed->closed && check_answer(feed, reply))
	{
		/*
		 * Else they may be those of another namespace of that name; they are read again when that is known.
		 */
		more = !is_sure(feed) || take_messages(feed, reply);
	}
	if (end_answer(feed) && !feed->failing)
		schedule_next(feed, more);
}

/* ---- questions ----------------------------------------------------------------------- */

/*
 * Where reads are answered by standbys the primary is asked first whether it is the same namespace, and who
 * may read it; then a standby where it begins.
 */
static void choose_question(struct feed *feed)
{
	bool fresh = is_same_generation(feed) && !clock_passed(clock_ms(), feed->checked_ms, CHECK_MS);

	feed->asked_tokens = !db_has_standby(feed->place->db) || !fresh || feed->primary_only;
	feed->asked_head = feed->position == 0 &&
					   (!db_has_standby(feed->place->db) || feed->primary_only || !feed->asked_tokens);
}

static bool ask_state(struct feed *feed)
{
	feed->doubtful = feed->doubtful || (feed->position > 0 && !is_same_generation(feed));
	if (feed->position > 0 && !is_same_connection(feed))
		restart(feed);
	choose_question(feed);
	if (feed->asked_tokens)
		feed->generation = atomic_load(feed->feeds->options.generation);
	feed->reconnects = db_reconnects(feed->place->db);
	if (!feed_tokens_ask(feed, db_has_standby(feed->place->db) && feed->asked_tokens, on_state))
		return false;
	feed->asked = FEED_ASKED_STATE;
	return true;
}

/* Those that join follow from now on; the next question begins where the last of them is. */
static void admit(struct feed *feed)
{
	struct listener *listener;

	while ((listener = TAILQ_FIRST(&feed->joining)) != NULL)
	{
		if (!channel_join(listener))
			listener_move(listener, LISTENER_WAITING);
		else if (listener->complete_below < feed->next_read)
			feed->next_read = listener->complete_below;
	}
}

static bool ask_messages(struct feed *feed)
{
	struct db_read_feed in = {
		.namespace_name = feed->name,
		.max_rows = PAGE_ROWS,
		.max_bytes = FEED_PAGE_BYTES,
		.reading = {.seat = feed->seat},
	};
	struct buf queries = {0};
	bool asked;

	admit(feed);
	feed_queries_ask(feed, &queries);
	if (queries.len > 0)
		in.queries = queries.data;
	feed->asked_from = in.position = feed->next_read;
	feed->asked_whole = in.whole = feed->nwhole > 0;
	asked = !queries.failed && db_read_feed(feed->place->db, &in, on_messages, feed);
	buf_free(&queries);
	if (asked)
		feed->asked = FEED_ASKED_MESSAGES;
	else
		feed_queries_answered(feed);
	return asked;
}

/*
 * At another place it begins anew, as after a crash: its listeners read from where they are.  Positions are
 * the same there, so they are handed none twice and miss none.
 */
static void on_place(struct place_wait *wait, const struct error *error)
{
	struct feed *feed = (struct feed *)wait;
	bool moved = feed_take_place(feed, error);

	if (moved)
		restart(feed);
	if (error->code == ERROR_NAMESPACE_NOT_FOUND)
		feed_end(feed);
	if (!end_answer(feed))
		return;
	if (moved)
		feed_ask(feed);
	else /* it may take a moment, as on a standby */
		schedule(feed, POLL_IDLE_MS);
}

/* Asks what is to be asked now, unless an answer is awaited. */
static void feed_ask(struct feed *feed)
{
	bool sent;

	if (feed->asked != FEED_ASKED_NOTHING)
		return;
	event_del(&feed->timer);
	feed->woken = false;
	if (feed->elsewhere || places_of(feed->feeds->places, feed->name) != feed->place)
		sent = feed_seek(feed, on_place);
	else if (feed->position == 0 || !is_sure(feed) || clock_passed(clock_ms(), feed->checked_ms, CHECK_MS))
		sent = ask_state(feed);
	else
		sent = ask_messages(feed);
	if (!sent)
		schedule(feed, RETRY_MS);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	feed_ask(arg);
}

/* ---- waking --------------------------------------------------------------------------- */

void feed_wake(struct feed *feed)
{
	uint64_t now;

	if (feed->woken || feed->failing)
		return;
	feed->woken = true;
	if (feed->asked != FEED_ASKED_NOTHING)
		return;
	now = clock_ms();
	if (now >= feed->not_before_ms)
		feed_ask(feed);
	else
		schedule(feed, clock_span(now, feed->not_before_ms));
}

/* ---- what listeners ask ------------------------------------------------------------------ */

static struct feed *feed_new(struct feeds *feeds, uint32_t hash, const char *namespace_name)
{
	struct feed *feed = calloc(1, sizeof(*feed));

	if (feed == NULL)
		return NULL;
	feed->feeds = feeds;
	feed->place = places_of(feeds->places, namespace_name);
	if (feed->place == NULL)
	{
		free(feed);
		return NULL;
	}
	feed->hash = hash;
	TAILQ_INIT(&feed->tokens);
	TAILQ_INIT(&feed->aside);
	TAILQ_INIT(&feed->waiting);
	TAILQ_INIT(&feed->joining);
	TAILQ_INIT(&feed->queries.list);
	snprintf(feed->name, sizeof(feed->name), "%s", namespace_name);
	event_assign(&feed->timer, feeds->base, -1, 0, on_timer, feed);
	feed_table_add(feed);
	return feed;
}

bool feed_attach(struct feeds *feeds, const char *namespace_name, const char *token_hash,
				 struct listener *listener)
{
	uint32_t hash = feed_hash(FEED_HASH_START, slice_of(namespace_name));
	struct feed *feed = feed_table_bucket(feeds, hash);

	if (!feeds->options.check_tokens)
		token_hash = "";
	/* One in doubt may be of a namespace that was deleted since, and would soon end its new listener. */
	while (feed != NULL && (feed->hash != hash || strcmp(feed->name, namespace_name) != 0 || feed->doubtful ||
							!is_same_generation(feed)))
		feed = feed->next;
	if (feed == NULL)
		feed = feed_new(feeds, hash, namespace_name);
	if (feed == NULL)
		return false;
	if (!feed_token_enter(feed, token_hash, listener))
	{
		if (feed->nlisteners == 0)
			feed_close(feed);
		return false;
	}
	listener->feed = feed;
	listener->place = LISTENER_DETACHED;
	listener->here = NULL;
	listener_move(listener, feed->position > 0 ? LISTENER_ASIDE : LISTENER_WAITING);
	if (feed->nlisteners++ == 0)
		feed_ask(feed);
	return true;
}

void feed_detach(struct listener *listener)
{
	struct feed *feed = listener->feed;

	if (listener->place == LISTENER_DETACHED)
		return;
	listeners_let_go(listener);
	if (feed->nlisteners == 0)
		feed_close(feed);
}

bool feed_is_sure(const struct listener *listener)
{
	return is_sure(listener->feed);
}

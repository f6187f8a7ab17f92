/*
 * feed_internal: what the files of the feeds share; only they include it.
 *
 *     feed.c      one feed: what it asks of Postgres and when, and what its listeners ask of it
 *     moving.c    where a feed's namespace has gone
 *     following.c what listeners ask of a feed
 *     feeds.c     the feeds of a worker: found by their namespace, woken by commits
 *     table.c     which feeds a worker has
 *     tokens.c    with which tokens the listeners of a feed came
 *     listener.c  at which place each listener is
 *     channel.c   which listeners get which message
 *     filter.c    what a listener wants of the messages of its stream or category
 *     watch.c     waits for commits that did not come through this process
 *
 * wakes.c stands below them: the workers wake each other.
 */
#ifndef MILLRACE_FEED_INTERNAL_H
#define MILLRACE_FEED_INTERNAL_H

#include <event2/event_struct.h>

#include "base/buf.h"
#include "db/calls_feed.h"
#include "live/feed.h"
#include "places/places.h"
#include "live/wakes.h"
#include "access/token.h"

#define FEED_BUCKETS 256
#define FEED_HASH_START 2166136261U

TAILQ_HEAD(listener_list, listener);

/* What some of a feed's listeners came with; none in test mode, and then its hash is empty. */
struct feed_token
{
	TAILQ_ENTRY(feed_token) link; /* of its feed's */
	char hash[TOKEN_HASH_LEN + 1];
	struct listener_list listeners; /* one at least */
};

TAILQ_HEAD(feed_tokens, feed_token);

/* The question of a feed that Postgres has not answered yet. */
enum feed_question
{
	FEED_ASKED_NOTHING,
	FEED_ASKED_STATE,
	FEED_ASKED_MESSAGES,
	FEED_ASKED_PLACE, /* where the namespace is now; not Postgres: the places */
};

/* A query that channels of a feed have; Postgres says with each message whether it matches. */
struct feed_query
{
	TAILQ_ENTRY(feed_query) link;
	uint32_t hash;
	unsigned users; /* channels; freed without any, unless it is asked about */
	bool asked;		/* it is part of the question under way */
	size_t len;
	char text[];
};

TAILQ_HEAD(feed_query_list, feed_query);

struct feed_queries
{
	struct feed_query_list list;
	unsigned n;
	struct feed_query **asked; /* as they are numbered in the question under way */
	unsigned nasked;
};

struct feed
{
	struct place_wait wait; /* for the namespace, which is sealed or elsewhere; first: we cast */
	struct feeds *feeds;
	struct place *place; /* where it reads */
	struct feed *next;	 /* of its bucket */
	uint32_t hash;		 /* of the name */
	char name[MAX_NAMESPACE_NAME + 1];
	char created_at[48]; /* of the namespace, which tells it from a later one of its name */

	int64_t position; /* everything below was handed out or is the listeners' own to find; 0: not known yet */
	uint64_t seat;	  /* where that is known: all else of it is read in the same session */
	int64_t next_read; /* below position while listeners that join are brought there */
	enum feed_question asked;
	int64_t asked_from;
	bool asked_whole; /* messages and not only pokes */
	struct feed_queries queries;
	bool woken;		/* a message was appended since the last question */
	bool failing;	/* the last answer was an error, which is logged */
	bool elsewhere; /* the namespace is not to be read at its place now */
	bool closed;	/* without listeners; freed with the answer */
	unsigned long generation;
	unsigned long reconnects;	   /* of the database, when its position was asked for */
	bool asked_head, asked_tokens; /* of a state */
	bool primary_only;			   /* no standby has the namespace yet */
	bool doubtful;				   /* the question whether it is still the same namespace is open */
	uint64_t checked_ms, traffic_ms, not_before_ms;
	struct event timer;

	unsigned nlisteners;
	struct feed_tokens tokens;
	struct listener_list aside, waiting, joining;
	unsigned nchannels[FEED_SOURCES]; /* by their source */
	unsigned nwhole;				  /* that follow and need whole messages */
};

/* All channels of a worker, by feed, source and name. */
struct channel_table
{
	struct feed_channel **buckets;
	unsigned nbuckets, nchannels;
};

/* The wait for commits at a place. */
struct feed_watch
{
	struct feeds *feeds;
	struct db *db;			/* NULL: the place is not used */
	uint64_t watch_from_ms; /* until then the feeds ask */
	uint64_t waits_from_ms; /* the same of waits, where reads are answered by a standby */
};

struct feeds
{
	struct event_base *base;
	struct places *places;
	struct feed_watch watches[DIRECTORY_MAX_CLUSTERS]; /* by the clusters' numbers */
	struct feeds_options options;
	struct feed_waker *waker; /* the worker's place in options.wakes; NULL: there was none left */
	struct event woken;
	struct feed *buckets[FEED_BUCKETS];
	unsigned nfeeds;
	bool has_waits; /* calls that are no listeners wait for commits, too */
	void (*woken_waits)(void *arg, uint64_t namespaces); /* of theirs; NULL: none ever */
	void *waits_arg;
	void (*on_told)(struct feeds *feeds); /* something was committed, or that can't be told any more */
	struct channel_table channels;
};

/* FNV-1a */
static inline uint32_t feed_hash(uint32_t start, struct slice name)
{
	for (size_t i = 0; i < name.len; i++)
		start = (start ^ (unsigned char)name.bytes[i]) * 16777619U;
	return start;
}

/* ---- table.c ------------------------------------------------------------- */

/* The feeds whose names have this hash, among others; by feed->next. */
static inline struct feed *feed_table_bucket(const struct feeds *feeds, uint32_t hash)
{
	return feeds->buckets[hash % FEED_BUCKETS];
}
void feed_table_add(struct feed *feed);
/* Nothing happens to one that was removed before. */
void feed_table_remove(struct feed *feed);

/* ---- feed.c ------------------------------------------------------------------- */

/* Messages were committed: it asks for them, as soon as that is due. */
void feed_wake(struct feed *feed);

/* ---- moving.c ------------------------------------------------------------------ */

/* Finds out where the namespace is open, as a question.  False: the server is stopping, or out of memory. */
bool feed_seek(struct feed *feed, void (*done)(struct place_wait *wait, const struct error *error));
/* Goes on there; true: at another place than before. */
bool feed_take_place(struct feed *feed, const struct error *error);

/* ---- tokens.c ------------------------------------------------------------------ */

/* Notes the token that a listener comes with; false: out of memory. */
bool feed_token_enter(struct feed *feed, const char *hash, struct listener *listener);
void feed_token_leave(struct listener *listener);
/*
 * Asks for the state, and which of them may not read any more: the primary, or whoever answers reads.  False:
 * a queue is full, or out of memory.
 */
bool feed_tokens_ask(struct feed *feed, bool of_primary, db_query_done done);
/* A listener whose token's hash is among these, or NULL for all; NULL: there is none. */
struct listener *feed_tokens_find(const struct feed *feed, const char *hashes);

/* ---- listener.c ------------------------------------------------------------- */

/* Only this moves a listener: to a place, and onto the list of those that are there. */
void listener_enter(struct listener *listener, enum listener_place place, struct listener_list *list);
/* The same to a place of its feed, or to none; FOLLOWING is one of its channel. */
void listener_move(struct listener *listener, enum listener_place place);

/* ---- watch.c ------------------------------------------------------------------ */

/*
 * Begins to wait for commits when it is time for that.  True: on_told will be called after the next one, so
 * that the feeds need not ask.
 */
bool feeds_watch(struct feeds *feeds, const struct place *place, uint64_t now);
/* The same for those that wait and are no feeds, which ask the primary. */
bool feeds_watch_primary(struct feeds *feeds, const struct place *place, uint64_t now);

/* ---- queries.c ---------------------------------------------------------------- */

/* Takes a query of a channel, by its hash in the table; NULL: out of memory.  Each is given back once. */
struct feed_query *feed_query_take(struct feed *feed, uint32_t hash, struct slice text);
void feed_query_give_back(struct feed *feed, struct feed_query *query);
/* Writes the array of those to be asked about, with its NUL; nothing where there are none. */
void feed_queries_ask(struct feed *feed, struct buf *out);
/* Whether a query is part of the question under way. */
bool feed_query_is_asked(const struct feed *feed, uint32_t hash, struct slice text);
/* Takes the next of a row's matches; NULL: there is no more. */
const struct feed_query *feed_queries_next(const struct feed *feed, struct slice *matches);
/* The question is answered, or was not sent. */
void feed_queries_answered(struct feed *feed);

/* ---- filter.c ----------------------------------------------------------------- */

/*
 * What filters look at in a whole message, taken out of it when the first one asks; text.failed: out of
 * memory.
 */
struct feed_content
{
	bool read;
	bool correlated;
	struct buf text; /* the type, and behind it the stream of the correlation, if there is one */
	size_t type_len;
	struct buf event; /* the message as a CloudEvent; empty: not made yet */
};

/* Whether there is more to look at of a message than its poke tells. */
bool feed_wants_whole(const struct feed_filter *filter);

/* How many bytes the types of a filter take, with every NUL; 0 for NULL. */
size_t feed_types_size(const char *types);
bool feed_same_content(const struct feed_filter *a, const struct feed_filter *b);
/* Whether the filter's types and correlation let the message pass, by the rules of the extension's reads. */
bool feed_passes(const struct feed_filter *filter, struct slice message, struct feed_content *content);

/* ---- channel.c ---------------------------------------------------------------- */

/* The hash of a filter's source and name. */
uint32_t channel_hash(const struct feed *feed, const struct feed_filter *filter);
/* Makes a listener follow; false: out of memory, it is where it was. */
bool channel_join(struct listener *listener);
/* Puts a listener that follows elsewhere. */
void channel_leave(struct listener *listener, enum listener_place place);
/* One that follows the feed; NULL: none does. */
struct listener *channel_any_follower(const struct feed *feed);
/* Hands the messages of a db_read_feed to all that follow. */
void channel_dispatch(struct feed *feed, const struct db_reply *reply);

/* ---- listeners.c -------------------------------------------------------------- */

void listeners_put(struct listener *listener, enum listener_place place);
/* Lets up to so many of those that wait go on; those that must wait again do so behind the others. */
void listeners_release(struct feed *feed, unsigned most);
/* None follows any more, and each is told that the feed begins anew. */
void listeners_restart(struct feed *feed);
/* Puts a listener nowhere. */
void listeners_let_go(struct listener *listener);
/*
 * Ends the listeners with these tokens, which may not read any more; NULL: all.  One that comes with such a
 * token from within is ended, too.
 */
void listeners_end(struct feed *feed, const char *hashes);

/* Whether commits in other workers are to be told to this one. */
static inline bool feeds_are_listening(const struct feeds *feeds)
{
	return feeds->nfeeds > 0 || feeds->has_waits;
}

#endif

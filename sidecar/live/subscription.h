/*
 * subscription: what the files of a subscription share (see subscribe.h); only they include it.
 *
 *     subscribe.c     begins one, hands it live events, pings it
 *     refusal.c       queries that can't be answered
 *     catch_up.c      reads what was before, and compares with the head
 *     subscription.c  its state, its lists and its reply
 */
#ifndef MILLRACE_SUBSCRIPTION_H
#define MILLRACE_SUBSCRIPTION_H

#include <event2/event_struct.h>
#include <sys/queue.h>

#include "access/auth.h"
#include "base/errors.h"
#include "live/feed.h"
#include "live/subscribe.h"

struct db_reply;
struct subscribe_params;

/* The states; the comments say which list of struct subscriptions they are on, all are on `by_silence`. */
enum subscription_state
{
	SUBSCRIPTION_WAITING,	/* the feed says when to go on */
	SUBSCRIPTION_QUEUED,	/* `queue`: for its turn to read what was before */
	SUBSCRIPTION_READING,	/* Postgres has its query */
	SUBSCRIPTION_DRAINING,	/* the client has not read what was sent */
	SUBSCRIPTION_FOLLOWING, /* the feed hands it what comes */
	SUBSCRIPTION_ENDED,		/* on no list; only its query's answer is awaited */
};

/* What the last page said. */
enum past
{
	PAST_MORE,
	PAST_UNDECIDED, /* there is a message that may still commit, or that the feed has yet to come to */
	PAST_READ,
};

struct subscription
{
	struct listener listener; /* first: the feed's calls get it, and it is cast */
	struct subscriptions *all;
	struct http_request *request; /* NULL when ended */
	enum subscription_state state;
	enum past past;
	TAILQ_ENTRY(subscription) in_queue, in_silence;
	uint64_t sent_ms, begun_ms;
	uint64_t sweep; /* the last one that looked at it: each does so once, or it may never end */
	uint64_t bytes_out;
	int64_t after;		  /* a stream's: only messages above this global position; -1: any */
	int64_t min_position; /* what it reads must be as new; 0: nothing */
	int64_t below;		  /* of the page that was asked for: the feed's position at that time */
	size_t page;		  /* bytes of the page that is under way, 0: none */
	bool reads_fast;	  /* its client's socket took the last page whole */
	bool placed;		  /* it is known not to be above the head */
	bool stale;			  /* the feed began anew while Postgres had its query */
	unsigned pings;
	bool has_ids; /* its events bear ids, or its client came with one */
	bool knows_reset;
	bool strict;	 /* it ends where messages were removed that were to come, */
	int64_t seen;	 /* but for removals up to this one; -1: none */
	bool wants_head; /* its client asked to be told when it has caught up, */
	enum
	{
		HEAD_UNKNOWN,
		HEAD_KNOWN,
		HEAD_TOLD,
	} head_state;
	int64_t head; /* with this position, the last one when it first had read everything */
	char namespace_name[MAX_NAMESPACE_NAME + 1];
	char name[]; /* of the filter; behind it its types and its correlation */
};

TAILQ_HEAD(subscription_list, subscription);

struct subscriptions
{
	struct db *db;
	struct feeds *feeds;
	const char *headers; /* lines of every reply */
	struct event sweep;
	uint64_t sweeps;
	bool ending;
	unsigned reading;
	size_t held;	/* bytes of pages under way */
	size_t queries; /* bytes of the queries that are subscribed to */
	struct subscription_list queue, by_silence;
};

/* ---- subscription.c ----------------------------------------------------------- */

/* Moves it from the list of its state to that of the new one. */
void subscription_set_state(struct subscription *s, enum subscription_state state);
/* Bytes of its query; 0: it has none. */
size_t subscription_query_size(const struct subscription *s);
/* Its page that is under way takes so many bytes; 0: none is. */
void subscription_hold_page(struct subscription *s, size_t bytes);
/* Something was sent: its silence begins anew. */
void subscription_touch(struct subscription *s);
/* Sends events that have the form of the reply's body already: with chunks, if it has those. */
void subscription_send(struct subscription *s, const char *bytes, size_t len);
void subscription_send_text(struct subscription *s, const char *text);
/*
 * Takes it out of everything and returns its request, whose reply the caller ends.  It is freed, at the
 * latest when its query is answered.
 */
struct http_request *subscription_retire(struct subscription *s);
/* The same, and ends the reply; as the last thing, since that may begin the connection's next request. */
void subscription_end(struct subscription *s);

/* ---- refusal.c ---------------------------------------------------------------- */

/* Whether an answer says that the query itself can't be answered. */
bool subscription_is_refused(const struct db_reply *reply, struct error *error);
/* Sends the event `error` and ends it. */
void subscription_refuse(struct subscription *s, const struct error *error);

/* `error` is NULL where nothing speaks against it, or that can't be told now. */
typedef void (*subscription_checked)(struct subscriptions *all, struct http_request *request,
									 const struct claim *claim, const struct error *error);

/*
 * Asks whether a query can be answered, and a position is reached, before the request gets a reply.  False:
 * out of memory or full.
 */
bool subscription_check(struct subscriptions *all, struct http_request *request, const struct claim *claim,
						const struct subscribe_params *params, subscription_checked done);

/* ---- catch_up.c --------------------------------------------------------------- */

/* From any state in which nothing is under way: follows, or reads what was before. */
void subscription_go_on(struct subscription *s);
/* Goes on when the client has read all. */
void subscription_drain(struct subscription *s);
/* Its feed began anew: what it was not handed is to be read again. */
void subscription_restart(struct subscription *s);

#endif

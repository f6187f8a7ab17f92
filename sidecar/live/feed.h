/*
 * feed: the live messages of a namespace, for the listeners of a worker.
 *
 * A feed is one namespace in one worker, alive while it has listeners.  It has a position: every message from
 * there on it will hand out, in global order, each once, whichever client appended it.  What is below is the
 * listener's own to catch up with.  It reads when a message was appended or imported through this process,
 * when Postgres tells of another commit, and on a timer.  It begins anew when the database was away: after a
 * crash, positions of messages that were not committed are given out again.  So it does at the new place when
 * its namespace has moved to another cluster, where positions are the same.
 *
 * A listener is owned by its caller, and is at one place at a time:
 *
 *     aside       it does something else: catches up, or waits for its client
 *     waiting     it will be called again soon
 *     following   it is handed the messages as they come
 *
 * One struct feeds per worker, used from that worker's thread only.
 */
#ifndef MILLRACE_FEED_H
#define MILLRACE_FEED_H

#include <event2/event.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/slice.h"

struct feed;
struct feeds;
struct feed_channel;
struct feed_wakes;
struct listener;
struct listener_list;
struct places;

/* ---- the feeds of a worker ------------------------------------------------ */

struct feeds_options
{
	struct feed_wakes *wakes;
	const _Atomic unsigned long *generation; /* changes when a namespace or a token does */
	bool check_tokens;
};

/*
 * Wakes the feeds of a namespace, here and in other workers, when messages were committed to it through
 * one of the places.
 */
struct feeds *feeds_new(struct event_base *base, struct places *places, const struct feeds_options *options);
/* No listener may be left. */
void feeds_free(struct feeds *feeds);

/* ---- others who wait for commits -------------------------------------------- */

/*
 * Calls `woken` when something may have been committed to namespaces with one of these bits, while waiting is
 * set (feeds_set_waiting).  Once, before that.
 */
void feeds_on_wake(struct feeds *feeds, void (*woken)(void *arg, uint64_t namespaces), void *arg);
void feeds_set_waiting(struct feeds *feeds, bool waiting);
/* A namespace's bit; others may have the same. */
uint64_t feeds_bit(const char *namespace_name);
/* Wakes the other workers for a namespace. */
void feeds_ring(struct feeds *feeds, const char *namespace_name);
/*
 * Whether commits to a namespace that do not come through this process are told, too; begins the wait for
 * them.
 */
bool feeds_are_told(struct feeds *feeds, const char *namespace_name);

/* ---- listeners ------------------------------------------------------------ */

enum feed_source
{
	FEED_ALL,
	FEED_CATEGORY,
	FEED_STREAM,
	FEED_QUERY,
	FEED_SOURCES
};

/* Which messages, and in what form. */
struct feed_filter
{
	enum feed_source source;
	const char *name;		 /* of the category or stream, or the query's JSON; "" for FEED_ALL */
	const char *types;		 /* each with its NUL, an empty one at the end; NULL: all */
	const char *correlation; /* the category of metadata's correlationStreamName; NULL: any */
	int64_t member, size;	 /* of a consumer group; size 0: none */
	bool ids;				 /* events bear their global position as id */
	bool messages;			 /* whole messages instead of pokes */
	bool cloudevents;		 /* these as CloudEvents */
	bool chunked;			 /* each event is an HTTP chunk */
};

struct feed_event
{
	size_t end; /* in the page's bytes */
	int64_t position, global_position;
};

/* Events one after the other. */
struct feed_page
{
	const char *bytes;
	const struct feed_event *events;
	unsigned nevents;
};

struct feed_user
{
	/* The feed knows its position, or a listener that waits should try again. */
	void (*go_on)(struct listener *listener);
	/* Takes the events from `first` on; returns how many it took.  Fewer than there are put it aside. */
	unsigned (*deliver)(struct listener *listener, const struct feed_page *page, unsigned first);
	/*
	 * The feed begins anew: what the listener was not handed is its own to find again.  One that followed
	 * is waiting now.
	 */
	void (*restart)(struct listener *listener);
	/* The namespace is gone, or its token may not read it any more; the listener is detached already. */
	void (*end)(struct listener *listener);
};

enum listener_place
{
	LISTENER_DETACHED,
	LISTENER_ASIDE,
	LISTENER_WAITING,
	LISTENER_JOINING, /* will follow from the feed's next read on */
	LISTENER_FOLLOWING,
};

struct listener
{
	/* Set before feed_attach; what the filter points to must stay. */
	const struct feed_user *user;
	struct feed_filter filter;
	/*
	 * The listener's progress, kept up to date where it is handed messages: the first wanted, by position
	 * for a stream and by global position else; and a global position below which nothing is missing.
	 */
	int64_t next;
	int64_t complete_below;
	/* The first position wanted at all.  Of a stream whose end was deleted by hand, positions come again. */
	int64_t first;
	/* Of a stream: below this global position, what comes before `next` was told.  0: nothing was. */
	int64_t told_below;
	/* The feed's own. */
	enum listener_place place;
	struct feed *feed;
	struct feed_token *token;		  /* while it is attached */
	TAILQ_ENTRY(listener) with_token; /* of those with it */
	struct feed_channel *channel;
	struct listener_list *here; /* the list that it is on; NULL when detached */
	TAILQ_ENTRY(listener) link; /* of it */
};

/* Puts the listener aside; go_on is called when the feed knows its position.  False: out of memory. */
bool feed_attach(struct feeds *feeds, const char *namespace_name, const char *token_hash,
				 struct listener *listener);
void feed_detach(struct listener *listener);
/* What a listener of it asks. */
struct db *feed_db(const struct listener *listener);
/* Messages from this global position on will be handed out; 0: go_on was not called yet. */
int64_t feed_position(const struct listener *listener);
/* Where that is known, and what is below it is to be read. */
uint64_t feed_seat(const struct listener *listener);
/*
 * False: a namespace or token changed, and whether the feed's did is not known yet, or the database was away:
 * what was read may be of another namespace.
 */
bool feed_is_sure(const struct listener *listener);
/* From complete_below on.  False: that is too far back, or out of memory. */
bool feed_follow(struct listener *listener);
void feed_wait(struct listener *listener);
/* What kept a listener waiting is gone: those of its feed that wait may go on. */
void feed_release(struct listener *listener);

#endif

/*
 * methods: what can be called (README.md, "Methods").  Knows nothing of HTTP or of envelopes.
 *
 *     table.c      the table, rights, the life of a call, rpc.discover
 *     discover.c   the document of the table
 *     reference.c  what it says of each method
 *     notation.c   types in short, as they are written there
 *     call.c       parameters, answers, statements
 *     again.c      calls are made again when their namespace was on its way to another cluster
 *     args.c       reading and checking arguments
 *     append.c     stream.write, stream.append, streams.append
 *     read.c       stream.get, category.get, query.get, stream.last, stream.version, stream.head
 *     namespace.c  ns.* but for
 *     clusters.c   ns.list, sys.health
 *     tokens.c     ns.tokens, ns.createToken, ns.revokeToken
 *     archive.c    messages.remove, ns.purge
 *     consumer.c   consumer.*
 *     waiting.c    calls of consumer.next that wait for something to do
 *     question.c   which of them are asked for together
 *     system.c     sys.*
 *     lookup.c     message.get, position.at
 *
 * The caller owns a call, and keeps it and everything its slices point to until the last reply.
 */
#ifndef MILLRACE_METHODS_H
#define MILLRACE_METHODS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/errors.h"
#include "base/slice.h"
#include "base/uuid.h"
#include "places/places.h"

#define METHOD_MAX_ARGS 3
#define METHOD_MAX_TEXTS 6
#define METHOD_MAX_PIECES 3

struct db;
struct process_view;
struct quota;
struct stats;
struct method;
struct method_call;
struct consumer_queue;
struct consumers;

/* What all calls of a worker share. */
struct methods
{
	struct places *places;
	_Atomic unsigned long *token_generation; /* raised when a namespace or token changed */
	struct uuid_generator ids;
	struct stats *stats; /* the worker's */
	struct consumers *consumers;
	const struct process_view *process;
	struct buf document; /* see methods_document; empty at first */
};

struct method_reply
{
	const struct error *error; /* NULL: the pieces are (the next part of) the result's JSON text */
	struct piece pieces[METHOD_MAX_PIECES];
	unsigned npieces;
	bool more;	  /* call method_resume for the next part, or method_end to do without */
	bool waiting; /* nothing yet, and it may take long: call method_abandon when its client is gone */
};

/* The receiver takes the pieces. */
typedef void (*method_done)(void *arg, struct method_reply *reply);

enum method_read
{
	OF_STREAM,
	OF_CATEGORY,
	OF_QUERY,
};

struct method_call
{
	/* Set before method_start; all else is the methods' own. */
	struct methods *methods;
	const struct method *method;
	const char *namespace_name;			/* that the token opens */
	struct place *place;				/* where that is */
	struct quota *quota;				/* of the namespace; NULL: it has no limits */
	unsigned rights;					/* of the token, see base/rights.h */
	struct slice args[METHOD_MAX_ARGS]; /* .bytes NULL: absent */
	bool unsupported; /* somewhere in the request is what jsonb cannot hold (see json_check) */
	bool strict; /* every key that is not known is refused, and not only one that is nearly a known one */
	/* A named argument that the method does not have, with its quotes; .bytes NULL: none. */
	struct slice stray;
	const struct uuid *key; /* that ids of messages are made of; NULL: none */
	unsigned index;			/* in its batch */
	struct slice trace;		/* traceparent for messages that have none; .bytes NULL: it is not wanted */
	size_t page_bytes;		/* of a read that does not come whole, about; 0 = a MiB */
	bool at_once;			/* among others, which it must not hold up: it does not wait */
	method_done done;
	void *arg;

	struct error error;
	struct db *db; /* that it asks: of its namespace's place, or of the place of the one that it is about */
	int about;	   /* which text that is; -1: it is about its own */
	struct place_wait wait;				   /* until the namespace is open, */
	void (*run)(struct method_call *call); /* and then this is done */
	bool tags;							   /* of ns.create: an index is made */
	bool again;		  /* it is made again: what it was given before stays the same, as ids are */
	bool has_request; /* `request` is set */
	uint64_t started_us;
	const char *action; /* the method's name behind its dot */
	/* Where in the arguments we are, for error messages; -1 = not inside one. */
	const char *inside; /* "message." or NULL */
	int stream_index;
	int message_index;
	/* Texts for a statement, NUL-terminated: places in `text`, -1 = NULL. */
	struct buf text;
	ssize_t texts[METHOD_MAX_TEXTS];
	/* A read: where its first page was answered, and what it must be as new as (db_reading). */
	uint64_t seat;
	int64_t min_position;
	/* In pages. */
	enum method_read read; /* of what */
	bool backward;		   /* the newest first */
	bool placed;		   /* `position` is set: else it begins at the start, or backward at the end */
	bool whole;			   /* it fails where messages were removed that it would have */
	bool has_seen;		   /* but for removals up to `seen`, of which the reader was told */
	int64_t seen;
	bool by_global; /* `position` is a global one, and the stream is read from where that begins */
	int64_t position;
	int64_t messages_left; /* -1 = all */
	int64_t head;		   /* of a query */
	int64_t member, size;  /* of a consumer group; size 0: none */
	bool begun;			   /* a page went out */
	bool any;			   /* a message went out */
	/* A call of consumer.next. */
	struct consumer_queue *waiting; /* that it is in; NULL: none */
	TAILQ_ENTRY(method_call) link;	/* of it */
	struct uuid request; /* its id, unless the client has given one; of an append the first message's */
	uint64_t deadline_ms;
	bool asked;		 /* Postgres has it */
	bool asked_once; /* and there was nothing for it */
	bool alone;		 /* it may be the one that fails the others */
	bool abandoned;	 /* nobody waits for it */
	bool told;		 /* that it waits */
};

/* `name` is a JSON string with its quotes; NULL when there is no such method, which is counted. */
const struct method *method_find(const struct methods *methods, struct slice name);
/* Its name in a request. */
const char *method_name(const struct method *method);
/* Of the calls counted in stats; NULL: there is none. */
const char *method_counted_name(unsigned index);
/* Which argument a named parameter of JSON-RPC is, -1 for none; `key` with its quotes. */
int method_argument(const struct method *method, struct slice key);

/*
 * The OpenRPC document of all methods, made when it is first asked for; .bytes NULL: out of memory.  It stays
 * until methods_free.
 */
struct slice methods_document(struct methods *methods);
/* Frees what the methods of a worker made for themselves. */
void methods_free(struct methods *methods);

/*
 * Checks the right to call and the arguments, and asks.  Calls `done` with the result or an error, perhaps
 * from within and, while method_reply.more is set, several times.
 */
void method_start(struct method_call *call);
/* Asks for the next part of a result. */
void method_resume(struct method_call *call);
/*
 * The client of a call that waits is gone: the call is answered at once, or as soon as Postgres has answered.
 */
void method_abandon(struct method_call *call);
/* Counts a part of its result that goes out for its quota. */
void method_charge(struct method_call *call, const struct method_reply *reply);
/* Counts the call and frees what it holds: after the last reply, or in place of resuming. */
void method_end(struct method_call *call);

/* ---- calls of consumer.next that wait (waiting.c) ------------------------------------------------ */

struct event_base;

/* What the room that knows of commits does for them. */
struct consumers_hooks
{
	uint64_t (*bit)(const char *namespace_name);
	/* Whether calls wait, and so are to be woken. */
	void (*set_waiting)(void *arg, bool waiting);
	/*
	 * Whether every commit to the namespace will be told, whoever makes it; asked when a call begins to wait,
	 * and then now and then.
	 */
	bool (*are_told)(void *arg, const char *namespace_name);
	/* A claim was settled, so that calls in other workers may go on. */
	void (*settled)(void *arg, const char *namespace_name);
	void *arg;
};

/* Of a worker; the hooks must stay.  NULL: out of memory. */
struct consumers *consumers_new(struct event_base *base, struct methods *methods,
								const struct consumers_hooks *hooks);
/* Answers what waits, and lets nothing wait any more. */
void consumers_end(struct consumers *consumers);
/* None may be waiting. */
void consumers_free(struct consumers *consumers);
/* Something may have been committed to namespaces that have one of these bits (consumers_hooks.bit). */
void consumers_wake(struct consumers *consumers, uint64_t namespaces);

#endif

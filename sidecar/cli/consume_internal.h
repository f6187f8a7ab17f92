/*
 * consume_internal: what the files of `millrace consume` share.
 *
 *     consume.c        the command: one claim after the other
 *     consume_call.c   calls of the server, made again while it is away
 *     consume_claim.c  a claim: how it is got, kept and settled, and its messages
 *     consume_print.c  its lines, for a reader
 *     consume_exec.c   a command for each message
 *     consume_stop.c   signals
 */
#ifndef MILLRACE_CONSUME_INTERNAL_H
#define MILLRACE_CONSUME_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/slice.h"
#include "base/uuid.h"
#include "cli/internal.h"

struct config;

struct consume
{
	const struct config *config;
	const char *member;
	bool ordered;	  /* all of it, not stream by stream */
	struct buf reply; /* the last one's body */
	bool away;		  /* the server, which was said */
	bool complained;  /* of a consumer that does not run */
	bool wrong_settings;
	struct uuid_generator ids;
};

/* ---- consume_stop.c ------------------------------------------------------- */

/* Signals are noted from now on; false: complained about. */
bool consume_watch_signals(void);
/* Whether we are asked to end. */
bool consume_stopping(void);
/* We end without a signal: nobody reads any more. */
void consume_stop(void);
/* Readable after a signal, that of a child which ended included, until the next consume_signals_seen. */
int consume_signal_fd(void);
void consume_signals_seen(void);
/* As they are for other programs, in a child. */
void consume_restore_signals(void);

/* ---- consume_call.c ------------------------------------------------------- */

enum consume_result
{
	CONSUME_DONE,
	CONSUME_LOST,	 /* the claim is not ours any more */
	CONSUME_REFUSED, /* complained about */
	CONSUME_AWAY,	 /* the server, for too long */
	CONSUME_STOPPED, /* we are asked to end: whether it was done is not known */
};

/* How a call is made. */
struct consume_patience
{
	uint64_t answer_ms; /* for one answer */
	uint64_t total_ms;	/* tries are made for so long; 0: one is, UINT64_MAX: there is no end */
	bool finish;		/* also where we are asked to end */
};

extern const struct consume_patience consume_patient; /* until it is done, or we are asked to end */
extern const struct consume_patience consume_minute;  /* the same, but it fails in the end */
extern const struct consume_patience consume_ending;  /* what is to be said before the end */

/* Calls consumer.METHOD with an object of options; what is answered is in consume->reply. */
enum consume_result consume_call(struct consume *consume, const char *method, struct slice options,
								 const struct consume_patience *patience);

/* ---- consume_claim.c ------------------------------------------------------ */

struct consume_claim
{
	struct buf text; /* of the reply that brought it */
	int64_t number;	 /* 0: there is nothing to do */
	uint64_t lease_ms;
	uint64_t kept_ms, care_ms; /* its lease was seen to then, and must be after so long */
	struct slice messages, retries;
};

struct consume_message
{
	struct slice id, stream, type, position, global_position, data, metadata, time;
};

/* Asks for a claim; when it can't wait for the answer any more, gives back what that may have brought. */
enum consume_result consume_next(struct consume *consume, struct consume_claim *claim);
/* How long its lease needs no care, in ms. */
int consume_lease_wait(const struct consume_claim *claim);
/* Extends the lease when it is time; false: the claim is lost. */
bool consume_keep(struct consume *consume, struct consume_claim *claim);
/*
 * Ends the claim: all of it is done but what is in `failed`, elements of an array; and but what lies above
 * global position *up_to, which is given back, where that is not NULL.
 */
enum consume_result consume_settle(struct consume *consume, const struct consume_claim *claim,
								   struct slice failed, const int64_t *up_to);
void consume_read_message(struct slice array, struct consume_message *message);
/* Appends the line that an export has for it. */
void consume_add_line(struct buf *out, const struct consume_message *message);

/* ---- consume_print.c, consume_exec.c -------------------------------------- */

enum consume_progress
{
	CONSUME_GO_ON,
	CONSUME_END,	/* nobody reads any more */
	CONSUME_FAILED, /* complained about */
};

/* Both deal with a claim, and settle it. */
enum consume_progress consume_print(struct consume *consume, struct consume_claim *claim);
enum consume_progress consume_exec(struct consume *consume, struct consume_claim *claim);

#endif

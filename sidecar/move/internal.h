/*
 * move_internal: what the files of move/ share.
 *
 *     move.c      the sessions, and which steps are taken
 *     copy.c      a copy is made, follows, and is dropped
 *     transfer.c  one cluster gives a namespace to the other
 *     ask.c       statements
 *
 * A namespace has one cluster at a time that leads; the other has a copy that follows it by logical
 * replication.  The directory says which: its epoch rises by one when the namespace is given to the other,
 * and that is the only moment that counts.  All else is done by what the two clusters are found to be, so
 * that it may be done again after a kill anywhere.
 */
#ifndef MILLRACE_MOVE_INTERNAL_H
#define MILLRACE_MOVE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "db/session.h"

#define MOVE_LINK_MAX 64

/* One of the two clusters. */
struct move_side
{
	char *name, *conninfo; /* owned */
	struct session session;
};

/* How far a move is: how often the namespace was given to the other cluster. */
enum move_phase
{
	MOVE_COPYING,  /* the source leads */
	MOVE_SWITCHED, /* the target leads, and the source follows */
	MOVE_REVERSED, /* the source leads, for good */
};

struct move
{
	const char *namespace_name;
	uint64_t max_pause; /* ms */
	struct session directory;
	struct move_side source, target;
	int64_t epoch; /* of the namespace before all */
	enum move_phase phase;
	bool noted; /* in the directory: it was begun before */
	/* The name of publication, slot and subscription, from the source to the target and back. */
	char link[MOVE_LINK_MAX], link_back[MOVE_LINK_MAX];
	struct buf error;
	bool in_the_way; /* it failed because something is in the way, or in use: 55P03, 55006 */
};

/* ---- ask.c ---------------------------------------------------------------- */

/* All these: false when it failed, and move->error says why. */

#define MOVE_PARAMS(...)                                                                                     \
	(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)), (const char *const[])               \
	{                                                                                                        \
		__VA_ARGS__                                                                                          \
	}

/* Asks for one value, which becomes a string, empty for no row or NULL; *answer may be NULL. */
bool move_ask(struct move *move, struct session *session, struct buf *answer, const char *doing,
			  const char *sql, int nparams, const char *const *params);
/* The same, again and again for some seconds while something is in the way or in use. */
bool move_insist(struct move *move, struct session *session, const char *doing, const char *sql, int nparams,
				 const char *const *params);
bool move_fail(struct move *move, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Whether a value is true; the session's answers are 't' and 'f'. */
bool move_is_true(const struct buf *answer);
void move_wait(unsigned ms);
void move_catch_signals(void);
/* What is under way may not be stopped until it is false again. */
void move_hold_signals(bool hold);
bool move_is_stopping(void);
/* The same while they are held: where nothing is under way, what was begun is taken back. */
bool move_was_told_to_stop(void);
/* For tests, which set MILLRACE_MOVE_KILL_AT: dies here as by kill -9. */
void move_die_at(const char *place);

/* ---- copy.c --------------------------------------------------------------- */

bool move_start(struct move *move);
/* Has all that `leader` has committed by now reached the copy, for good?  Waits for up to `ms`. */
bool move_await(struct move *move, struct move_side *leader, const char *link, uint64_t ms, bool *reached);
/* Makes what `follower` needs to follow: the leader's publication and slot. */
bool move_offer(struct move *move, struct move_side *leader, const char *link, struct buf *offer);
/* Ends the replication from one to the other, if there is any. */
bool move_unlink(struct move *move, struct move_side *leader, struct move_side *follower, const char *link);
/* Before a copy is dropped: has it nothing that the leader never had? */
bool move_check_copy(struct move *move, struct move_side *leader, struct move_side *copy);
bool move_drop(struct move *move, struct move_side *side);
/* There is no move any more. */
bool move_forget(struct move *move);

/* ---- transfer.c ----------------------------------------------------------- */

/* Gives the namespace from the cluster that leads to the other. */
bool move_transfer(struct move *move);
/* After the directory has said so: opens it there, and closes it here. */
bool move_settle(struct move *move);

#endif

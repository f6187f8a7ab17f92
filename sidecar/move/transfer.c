/*
 * transfer.c: the cluster that leads gives a namespace to the one that follows.
 *
 * Before anybody has to wait: what is decided is compared, piece by piece, until the rest is small.  Then the
 * namespace is sealed, the copy gets the rest and what stands beside the tables, both are compared, and the
 * directory says that it is there.  Where that can't be had in time, the seal is taken off again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "move/internal.h"

#define CATCH_UP_MS 86400000 /* nobody waits for it */
#define SMALL_MS 1000		 /* a piece that takes no longer is the last one... */
#define PIECES 10			 /* ...or this one */
#define COMPARISONS 5		 /* of one piece, which may change while it is compared */
#define SEALINGS 60			 /* attempts, each followed by a pause */
#define SEALING_PAUSE_MS 500

/* Who gives it to whom, and by which link what is written then goes back; NULL: by none. */
struct transfer
{
	struct move_side *leader, *follower;
	const char *link, *link_back;
	bool sealed;		/* already, by a move that was stopped */
	uint64_t sealed_at; /* clock_ms */
	char position[24];	/* up to which both were found alike */
};

/* ---- comparing ------------------------------------------------------------- */

static bool digest(struct move *move, struct move_side *side, struct buf *out, const char *above,
				   const char *up_to, const char *large)
{
	return move_ask(move, &side->session, out, "compare the copy",
					"SELECT millrace.move_digest($1, $2::bigint, $3::bigint, $4::text[])",
					MOVE_PARAMS(move->namespace_name, above, up_to, large));
}

static bool compare(struct move *move, const struct transfer *transfer, const char *above, const char *up_to,
					const char *large, bool *same)
{
	struct buf leads = {0}, follows = {0};
	bool done = digest(move, transfer->leader, &leads, above, up_to, large) &&
				digest(move, transfer->follower, &follows, above, up_to, large);

	*same = done && strcmp(leads.data, follows.data) == 0;
	if (done && !*same)
		move_fail(move, "the copy is not the same: %s; copy: %s", leads.data, follows.data);
	buf_free(&leads);
	buf_free(&follows);
	return done;
}

/* Nobody waits for it, but for who was sealed already. */
static bool catch_up(struct move *move, struct transfer *transfer)
{
	uint64_t ms = transfer->sealed ? move->max_pause : CATCH_UP_MS;
	bool reached;

	if (!move_await(move, transfer->leader, transfer->link, ms, &reached))
		return false;
	if (!reached && move_was_told_to_stop())
		return move_fail(move, "told to stop");
	return reached || move_fail(move, "the copy did not catch up within %" PRIu64 " ms", ms);
}

/* Compares all up to what is decided; a removal or redaction meanwhile reaches the copy a little later. */
static bool compare_piece(struct move *move, struct transfer *transfer)
{
	struct buf up_to = {0};
	bool done, same = false;

	done = move_ask(move, &transfer->leader->session, &up_to, "look what is decided",
					"SELECT millrace.decided_to($1)", MOVE_PARAMS(move->namespace_name));
	for (int i = 0; done && !same && i < COMPARISONS && !move_was_told_to_stop(); i++)
		done =
			catch_up(move, transfer) && compare(move, transfer, transfer->position, up_to.data, "{}", &same);
	if (done && same)
		snprintf(transfer->position, sizeof(transfer->position), "%s", up_to.data);
	buf_free(&up_to);
	return done && same;
}

static bool compare_before(struct move *move, struct transfer *transfer)
{
	for (int i = 0; i < PIECES; i++)
	{
		uint64_t began = clock_ms();

		if (!compare_piece(move, transfer))
			return false;
		if (!clock_passed(clock_ms(), began, SMALL_MS))
			break;
	}
	return true;
}

/* ---- sealing --------------------------------------------------------------- */

static bool seal(struct move *move, struct transfer *transfer)
{
	bool sealed = false;

	for (int i = 0; !sealed && i < SEALINGS && !move_is_stopping(); i++)
	{
		if (i > 0)
			move_wait(SEALING_PAUSE_MS);
		if (!catch_up(move, transfer))
			return false;
		move_hold_signals(true);
		transfer->sealed_at = clock_ms();
		sealed = move_ask(move, &transfer->leader->session, NULL, "seal the namespace",
						  "SELECT millrace.set_namespace_state($1, 'sealed', max_wait => '0.5 s')",
						  MOVE_PARAMS(move->namespace_name));
		if (!sealed)
			move_hold_signals(false);
		if (!sealed && !move->in_the_way)
			return false;
	}
	return sealed;
}

/* What made it fail stays the error. */
static bool unseal(struct move *move, struct transfer *transfer)
{
	struct buf why = move->error;

	move_hold_signals(true);
	move->error = (struct buf){0};
	if (move_insist(move, &transfer->leader->session, "take the seal off",
					"SELECT millrace.set_namespace_state($1, 'open')", MOVE_PARAMS(move->namespace_name)))
		buf_add_str(&why, "; it was unsealed, and goes on where it was");
	else
	{
		buf_add_str(&why, "; and it is still sealed: run this again, or --reverse: ");
		buf_add(&why, move->error.data, move->error.len);
	}
	move_hold_signals(false);
	buf_free(&move->error);
	move->error = why;
	return false;
}

/* ---- under the seal --------------------------------------------------------- */

static bool copy_settings(struct move *move, struct transfer *transfer)
{
	struct buf settings = {0}, removals = {0};
	bool done = move_ask(move, &transfer->leader->session, &settings, "read the settings",
						 "SELECT millrace.move_settings($1)", MOVE_PARAMS(move->namespace_name)) &&
				move_ask(move, &transfer->leader->session, &removals, "read the settings",
						 "SELECT last_value FROM millrace.removals_id_seq", 0, NULL) &&
				move_ask(move, &transfer->follower->session, NULL, "copy the settings",
						 "SELECT millrace.move_settle($1, $2::jsonb, $3::bigint)",
						 MOVE_PARAMS(move->namespace_name, settings.data, removals.data));

	buf_free(&settings);
	buf_free(&removals);
	return done;
}

static bool make_alike(struct move *move, struct transfer *transfer)
{
	struct buf large = {0};
	bool done, same;

	done = catch_up(move, transfer);
	move_die_at("drained");
	done = done && copy_settings(move, transfer);
	move_die_at("settings");
	done = done &&
		   move_ask(move, &transfer->leader->session, &large, "look at the tables",
					"SELECT millrace.large_tables($1)", MOVE_PARAMS(move->namespace_name)) &&
		   compare(move, transfer, transfer->position, NULL, large.data, &same) && same;
	buf_free(&large);
	/* What came from here does not go back. */
	if (done && transfer->link_back != NULL)
		done = move_insist(move, &transfer->follower->session, "begin the way back here",
						   "SELECT pg_replication_slot_advance($1, pg_current_wal_flush_lsn())",
						   MOVE_PARAMS(transfer->link_back));
	move_die_at("compared");
	return done;
}

/* The moment: from here on the other cluster has the namespace. */
static bool decide(struct move *move, struct transfer *transfer)
{
	struct buf answer = {0};
	char epoch[24];
	bool decided;

	snprintf(epoch, sizeof(epoch), "%" PRId64, move->epoch + (int64_t)move->phase + 1);
	decided = move_ask(move, &move->directory, &answer, "change the directory",
					   "SELECT true FROM (SELECT millrace.direct_namespace(namespace, $2, epoch + 1, 'open')"
					   " FROM millrace.directory WHERE namespace = $1 AND epoch + 1 = $3::bigint OFFSET 0) d",
					   MOVE_PARAMS(move->namespace_name, transfer->follower->name, epoch));
	if (decided && !move_is_true(&answer))
		decided = move_fail(move, "the directory has changed meanwhile");
	buf_free(&answer);
	return decided;
}

static bool transfer_now(struct move *move, struct transfer *transfer)
{
	if (!make_alike(move, transfer))
		return unseal(move, transfer);
	if (!decide(move, transfer))
		/* It may have been decided, and the answer lost. */
		return session_is_lost(&move->directory) ? false : unseal(move, transfer);
	move_die_at("decided");
	move->phase++;
	if (!move_settle(move))
		return false;
	printf("\"%s\" is on cluster \"%s\"; writes waited for %" PRIu64 " ms\n", move->namespace_name,
		   transfer->follower->name, clock_span(transfer->sealed_at, clock_ms()));
	fflush(stdout);
	return true;
}

static bool look_whether_sealed(struct move *move, struct transfer *transfer)
{
	struct buf sealed = {0};
	bool done = move_ask(move, &transfer->leader->session, &sealed, "look at the namespace",
						 "SELECT state = 'sealed' FROM millrace.namespaces WHERE name = $1",
						 MOVE_PARAMS(move->namespace_name));

	transfer->sealed = done && move_is_true(&sealed);
	buf_free(&sealed);
	return done;
}

bool move_transfer(struct move *move)
{
	bool there = move->phase == MOVE_COPYING;
	struct transfer transfer = {
		.leader = there ? &move->source : &move->target,
		.follower = there ? &move->target : &move->source,
		.link = there ? move->link : move->link_back,
		.link_back = there ? move->link_back : NULL,
		.position = "0",
	};
	struct buf offer = {0};
	bool done;

	done = transfer.link_back == NULL || move_offer(move, transfer.follower, transfer.link_back, &offer);
	buf_free(&offer);
	move_die_at("way back");
	if (!done || !look_whether_sealed(move, &transfer))
		return false;
	move_hold_signals(transfer.sealed); /* until it is open again */
	if (!compare_before(move, &transfer) || !seal(move, &transfer))
		return transfer.sealed ? unseal(move, &transfer) : false;
	transfer.sealed = true;
	move_die_at("sealed");
	done = transfer_now(move, &transfer);
	move_hold_signals(false);
	return done;
}

/* ---- after it --------------------------------------------------------------- */

/*
 * It is opened where it was given to, once: while the other one is still sealed.  Later it is there as of
 * that epoch, or it is out of a backup, and what the other one has may be all that there is.
 */
static bool check_given(struct move *move, struct move_side *leader, struct move_side *follower,
						const char *epoch)
{
	struct buf there = {0}, sealed = {0};
	bool done = move_ask(move, &leader->session, &there, "look at the namespace",
						 "SELECT state <> 'moved' AND epoch >= $2::bigint FROM millrace.namespaces"
						 " WHERE name = $1",
						 MOVE_PARAMS(move->namespace_name, epoch)) &&
				move_ask(move, &follower->session, &sealed, "look at the namespace",
						 "SELECT state = 'sealed' FROM millrace.namespaces WHERE name = $1",
						 MOVE_PARAMS(move->namespace_name));

	if (done && !move_is_true(&there) && !move_is_true(&sealed))
		done = move_fail(move,
						 "cluster \"%s\" has an older namespace \"%s\" than it was given, or none: it was "
						 "restored from a backup, or that was deleted; what cluster \"%s\" has of it stays",
						 leader->name, move->namespace_name, follower->name);
	buf_free(&there);
	buf_free(&sealed);
	return done;
}

bool move_settle(struct move *move)
{
	struct move_side *leader = move->phase == MOVE_SWITCHED ? &move->target : &move->source;
	struct move_side *follower = move->phase == MOVE_SWITCHED ? &move->source : &move->target;
	char epoch[24];
	bool done;

	snprintf(epoch, sizeof(epoch), "%" PRId64, move->epoch + (int64_t)move->phase);
	done =
		check_given(move, leader, follower, epoch) &&
		move_insist(move, &leader->session, "open the namespace",
					"SELECT millrace.set_namespace_state(name, 'open', $2::bigint) FROM millrace.namespaces"
					" WHERE name = $1 AND state <> 'open'",
					MOVE_PARAMS(move->namespace_name, epoch));
	move_die_at("opened");
	done =
		done &&
		move_insist(move, &follower->session, "close the namespace",
					"SELECT millrace.set_namespace_state(name, 'moved', $2::bigint, $3)"
					" FROM millrace.namespaces WHERE name = $1 AND (state = 'sealed' OR epoch < $2::bigint)",
					MOVE_PARAMS(move->namespace_name, epoch, leader->name));
	move_die_at("closed");
	return done;
}

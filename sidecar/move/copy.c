/*
 * copy.c: a copy of a namespace is made, follows, and is dropped.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "move/internal.h"

#define TELL_MS 5000
#define LOOK_MS 100

static const char look[] = "look how far the copy is";

static const char slot_sql[] = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')"
							   " WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)";
static const char drop_slot_sql[] = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
									" WHERE slot_name = $1 AND database = current_database()";
static const char copied_sql[] =
	"SELECT count(*) FILTER (WHERE r.srsubstate <> 'r') FROM pg_subscription_rel r"
	" JOIN pg_subscription s ON s.oid = r.srsubid JOIN pg_database d ON d.oid = s.subdbid"
	" WHERE s.subname = $1 AND d.datname = current_database()";
static const char arrived_sql[] =
	"SELECT coalesce(sum(p.tuples_processed), 0) FROM pg_stat_progress_copy p"
	" JOIN pg_subscription_rel r ON r.srrelid = p.relid AND r.srsubstate <> 'r'"
	" JOIN pg_subscription s ON s.oid = r.srsubid AND s.subname = $1 WHERE p.datname = current_database()";
/* Why nothing is copied: each move takes a worker as long as it lasts, and one more for each table. */
static const char hindered_sql[] =
	"SELECT format('no worker is free for it there, max_logical_replication_workers is %s', s.setting)"
	" FROM pg_settings s, (SELECT count(pid) AS busy, count(pid) FILTER (WHERE subname = $1 AND relid IS NOT"
	" NULL) AS copying FROM pg_stat_subscription) w"
	" WHERE s.name = 'max_logical_replication_workers' AND w.copying = 0 AND w.busy >= s.setting::int";
static const char behind_sql[] =
	"SELECT pg_size_pretty(greatest(pg_current_wal_flush_lsn() - confirmed_flush_lsn, 0))"
	" FROM pg_replication_slots WHERE slot_name = $1";
static const char given_sql[] =
	"SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence(format('%I.messages', schema),"
	" 'global_position')), 0) FROM millrace.namespaces WHERE name = $1";
static const char schema_sql[] = "SELECT quote_ident(schema) FROM millrace.namespaces WHERE name = $1";
static const char reached_sql[] =
	"SELECT confirmed_flush_lsn >= $2::pg_lsn FROM pg_replication_slots WHERE slot_name = $1";

/* ---- making it ------------------------------------------------------------- */

bool move_offer(struct move *move, struct move_side *leader, const char *link, struct buf *offer)
{
	return move_ask(move, &leader->session, offer, "publish the namespace",
					"SELECT millrace.move_offer($1, $2)", MOVE_PARAMS(move->namespace_name, link)) &&
		   move_ask(move, &leader->session, NULL, "make a replication slot", slot_sql, MOVE_PARAMS(link));
}

static bool tell_copying(struct move *move, const char *left)
{
	struct buf rows = {0}, hindered = {0};
	bool done = move_ask(move, &move->target.session, &rows, look, arrived_sql, MOVE_PARAMS(move->link)) &&
				move_ask(move, &move->target.session, &hindered, look, hindered_sql, MOVE_PARAMS(move->link));

	if (done)
		printf("copying: %s tables are not there yet, %s of their rows are%s%s\n", left, rows.data,
			   hindered.len > 1 ? "; " : "", hindered.data);
	fflush(stdout);
	buf_free(&rows);
	buf_free(&hindered);
	return done;
}

/* Waits until all rows that were there have arrived. */
static bool await_copy(struct move *move)
{
	struct buf left = {0};
	uint64_t told = clock_ms();
	bool done = false;

	while (!done && !move_is_stopping() &&
		   move_ask(move, &move->target.session, &left, look, copied_sql, MOVE_PARAMS(move->link)))
	{
		done = strcmp(left.data, "0") == 0;
		if (!done && clock_passed(clock_ms(), told, TELL_MS))
		{
			if (!tell_copying(move, left.data))
				break;
			told = clock_ms();
		}
		if (!done)
			move_wait(LOOK_MS);
	}
	buf_free(&left);
	return done;
}

bool move_start(struct move *move)
{
	struct buf offer = {0};
	bool started;

	started = move_offer(move, &move->source, move->link, &offer);
	move_die_at("offered");
	started = started && move_ask(move, &move->target.session, NULL, "make the copy",
								  "SELECT millrace.move_receive($1, $2::jsonb)",
								  MOVE_PARAMS(move->namespace_name, offer.data));
	move_die_at("received");
	started = started && move_ask(move, &move->directory, NULL, "note the move",
								  "SELECT FROM millrace.begin_move($1, $2, true)",
								  MOVE_PARAMS(move->namespace_name, move->target.name));
	move_die_at("noted");
	started = started && move_ask(move, &move->target.session, NULL, "let the copy follow",
								  "SELECT millrace.move_subscribe($1, $2, $3, true)",
								  MOVE_PARAMS(move->namespace_name, move->link, move->source.conninfo));
	move_die_at("subscribed");
	buf_free(&offer);
	return started && await_copy(move);
}

/* ---- following ------------------------------------------------------------- */

/* 0, too: there is no such namespace. */
static bool last_position(struct move *move, struct move_side *side, int64_t *position)
{
	struct buf schema = {0}, answer = {0};
	char sql[256];
	bool done = move_ask(move, &side->session, &schema, look, schema_sql, MOVE_PARAMS(move->namespace_name));

	if (done && schema.len > 1)
	{
		snprintf(sql, sizeof(sql), "SELECT coalesce(max(global_position), 0) FROM %s.messages", schema.data);
		done = move_ask(move, &side->session, &answer, look, sql, 0, NULL);
	}
	*position = done && answer.len > 0 ? strtoll(answer.data, NULL, 10) : 0;
	buf_free(&schema);
	buf_free(&answer);
	return done;
}

/* How far the copy is behind: in bytes of the log, which is of the whole server, and in messages. */
static bool tell_behind(struct move *move, struct move_side *leader, const char *link)
{
	struct move_side *follower = leader == &move->source ? &move->target : &move->source;
	struct buf bytes = {0};
	int64_t leads, follows;
	bool done = move_ask(move, &leader->session, &bytes, look, behind_sql, MOVE_PARAMS(link)) &&
				last_position(move, leader, &leads) && last_position(move, follower, &follows);

	if (done)
		printf("waiting for the copy to catch up: it is %s of the log and %" PRId64
			   " messages behind; if that"
			   " does not fall, the log of its cluster says why\n",
			   bytes.data, leads > follows ? leads - follows : 0);
	fflush(stdout);
	buf_free(&bytes);
	return done;
}

bool move_await(struct move *move, struct move_side *leader, const char *link, uint64_t ms, bool *reached)
{
	struct buf lsn = {0}, answer = {0};
	uint64_t until = clock_ms() + ms, told = clock_ms();
	bool asked = move_ask(move, &leader->session, &lsn, "look where the log is",
						  "SELECT pg_current_wal_flush_lsn()", 0, NULL);

	*reached = false;
	while (asked && !*reached)
	{
		asked = move_ask(move, &leader->session, &answer, look, reached_sql, MOVE_PARAMS(link, lsn.data));
		*reached = asked && move_is_true(&answer);
		if (asked && answer.len <= 1)
			asked = move_fail(move, "cluster \"%s\" has lost the replication slot %s", leader->name, link);
		if (!asked || *reached || clock_ms() > until || move_was_told_to_stop())
			break;
		if (clock_passed(clock_ms(), told, TELL_MS))
		{
			asked = tell_behind(move, leader, link);
			told = clock_ms();
		}
		move_wait(ms < (uint64_t)10 * TELL_MS ? 5 : LOOK_MS);
	}
	buf_free(&lsn);
	buf_free(&answer);
	return asked;
}

/* ---- ending it ------------------------------------------------------------- */

bool move_unlink(struct move *move, struct move_side *leader, struct move_side *follower, const char *link)
{
	return move_ask(move, &follower->session, NULL, "end the replication", "SELECT millrace.move_unlink($1)",
					MOVE_PARAMS(link)) &&
		   move_insist(move, &leader->session, "drop the replication slot", drop_slot_sql,
					   MOVE_PARAMS(link)) &&
		   move_ask(move, &leader->session, NULL, "end the replication", "SELECT millrace.move_unlink($1)",
					MOVE_PARAMS(link));
}

/*
 * What leads has given all positions that a copy has, or it is an older one, and the copy is what is left.
 * The copy is asked first: what leads is written meanwhile, and the copy follows.
 */
bool move_check_copy(struct move *move, struct move_side *leader, struct move_side *copy)
{
	struct buf given = {0};
	int64_t position;
	bool done = last_position(move, copy, &position) &&
				move_ask(move, &leader->session, &given, look, given_sql, MOVE_PARAMS(move->namespace_name));

	if (done && position > strtoll(given.data, NULL, 10))
		done = move_fail(move,
						 "cluster \"%s\" has messages of \"%s\" up to position %" PRId64
						 ", which cluster \"%s\" has never had: that was restored from a backup, or the "
						 "namespace was deleted there; millrace.move_drop() on cluster \"%s\" drops them",
						 copy->name, move->namespace_name, position, leader->name, copy->name);
	buf_free(&given);
	return done;
}

bool move_drop(struct move *move, struct move_side *side)
{
	return move_insist(move, &side->session, "drop the copy",
					   "SELECT millrace.move_drop($1) FROM millrace.namespaces"
					   " WHERE name = $1 AND (state = 'moved' OR epoch = 0)",
					   MOVE_PARAMS(move->namespace_name));
}

bool move_forget(struct move *move)
{
	return move_ask(move, &move->directory, NULL, "end the move",
					"DELETE FROM millrace.moves WHERE namespace = $1", MOVE_PARAMS(move->namespace_name));
}

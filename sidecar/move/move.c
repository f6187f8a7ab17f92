/*
 * move.c: the sessions of a move, and which steps are taken.
 */
#include "move/move.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "db/db.h"
#include "db/identity.h"
#include "move/internal.h"

#define CONNECT_MS 30000

/* ---- opening ---------------------------------------------------------------- */

static const char directory_sql[] = "SELECT count(*) FROM millrace.directory_clusters()"; /* or says why */
static const char look_sql[] = "SELECT b.source, b.moves_to, b.epoch, b.now_at, s.conninfo, t.conninfo,"
							   " 'millrace_move_' || left(encode(sha256(convert_to(concat_ws('/', $1, "
							   "b.source, b.epoch), 'UTF8')), 'hex'), 32),"
							   " 'millrace_move_' || left(encode(sha256(convert_to(concat_ws('/', $1, "
							   "b.moves_to, b.epoch + 1), 'UTF8')), 'hex'), 32),"
							   " EXISTS (SELECT FROM millrace.moves m WHERE m.namespace = $1)"
							   " FROM millrace.begin_move($1, nullif($2, ''), false) b LEFT JOIN "
							   "millrace.clusters s ON s.name = b.source"
							   " LEFT JOIN millrace.clusters t ON t.name = b.moves_to";
/* The session of a move that has just ended, or was killed, has the lock for a moment longer. */
static const char lock_sql[] = "SELECT pg_advisory_lock(hashtextextended('millrace move ' || $1, 0))"
							   " FROM (SELECT set_config('lock_timeout', '4s', true) OFFSET 0) s";

static const char source_sql[] =
	"SELECT CASE WHEN state = 'moved' THEN format('has moved to cluster \"%s\": the directory is older', "
	"moved_to)"
	" WHEN epoch <> $2::bigint THEN format('is of epoch %s, and %s in the directory: one of them is older', "
	"epoch, $2) WHEN state = 'sealed' AND NOT $3::boolean THEN 'is sealed: millrace.unseal_namespace() lets "
	"it be moved' END"
	" FROM millrace.namespaces WHERE name = $1";

/* What is told to be done is to be on disk, and statements see what others have done. */
static const char settings_sql[] = "SELECT set_config('synchronous_commit', 'on', false),"
								   " set_config('default_transaction_isolation', 'read committed', false)";

static bool open_session(struct move *move, struct session *session, const char *conninfo)
{
	session->stopping = move_is_stopping;
	buf_clear(&move->error);
	return session_open(session, conninfo, clock_ms() + CONNECT_MS, &move->error) &&
		   session_set_up(session, &move->error) &&
		   session_run_only(session, "set up the session", settings_sql, NULL, NULL, &move->error);
}

/* Takes what the directory says; false: there is no move. */
static bool take_entry(struct move *move, const struct config *config, const struct pg_result *entry)
{
	int64_t given;

	if (session_is_null(entry, 0))
		return move_fail(move, "namespace \"%s\" is not being moved", config->namespace_name);
	if (config->to != NULL && strcmp(config->to, session_value(entry, 1)) != 0)
		return move_fail(move, "namespace \"%s\" is being moved to \"%s\" already; --reverse gives that up",
						 config->namespace_name, session_value(entry, 1));
	move->source.name = strdup(session_value(entry, 0));
	move->target.name = strdup(session_value(entry, 1));
	move->source.conninfo =
		strdup(config->source_database ? config->source_database : session_value(entry, 4));
	move->target.conninfo =
		strdup(config->target_database ? config->target_database : session_value(entry, 5));
	move->epoch = strtoll(session_value(entry, 2), NULL, 10);
	given = strtoll(session_value(entry, 3), NULL, 10) - move->epoch;
	if (given < MOVE_COPYING || given > MOVE_REVERSED)
		return move_fail(move,
						 "the move of namespace \"%s\" and its place are not of one directory: one of "
						 "them is out of a backup",
						 config->namespace_name);
	move->phase = (enum move_phase)given;
	snprintf(move->link, sizeof(move->link), "%s", session_value(entry, 6));
	snprintf(move->link_back, sizeof(move->link_back), "%s", session_value(entry, 7));
	move->noted = session_value(entry, 8)[0] == 't';
	if (!move->source.name || !move->target.name || !move->source.conninfo || !move->target.conninfo)
		return move_fail(move, "out of memory");
	return true;
}

static bool look(struct move *move, const struct config *config)
{
	struct pg_result *entry;
	bool done;

	if (!open_session(move, &move->directory, config->directory) ||
		!move_ask(move, &move->directory, NULL, "look into the directory", directory_sql, 0, NULL))
		return false;
	if (!move_ask(move, &move->directory, NULL, "lock the move", lock_sql, MOVE_PARAMS(move->namespace_name)))
		return move->in_the_way
				   ? move_fail(move, "another `millrace move` of \"%s\" is running", move->namespace_name)
				   : false;
	entry = session_run(&move->directory, "look into the directory", look_sql, move->namespace_name,
						config->to ? config->to : "", &move->error);
	done = entry != NULL && take_entry(move, config, entry);
	session_free(entry);
	return done;
}

/* The other cluster connects by that string, too, and PostgreSQL takes the first host that answers. */
static bool check_hosts(struct move *move, const struct move_side *side)
{
	return !db_may_lead_to_standby(side->conninfo) ||
		   move_fail(
			   move,
			   "the connection string of cluster \"%s\" names several hosts, and may lead to a standby: "
			   "add target_session_attrs=read-write to it, by millrace.add_cluster()",
			   side->name);
}

static bool open_side(struct move *move, struct move_side *side)
{
	struct buf superuser = {0};
	bool done = check_hosts(move, side) && open_session(move, &side->session, side->conninfo) &&
				move_ask(move, &side->session, &superuser, "look who this is",
						 "SELECT current_setting('is_superuser') = 'on'", 0, NULL);

	if (done && !move_is_true(&superuser))
		done =
			move_fail(move,
					  "the role that cluster \"%s\" is reached by is no superuser, which logical replication "
					  "asks for: name one that is by --%s-database",
					  side->name, side == &move->source ? "source" : "target");
	buf_free(&superuser);
	return done;
}

/* Two names of one database would have the namespace taken for a copy of itself. */
static bool check_apart(struct move *move)
{
	enum identity how;

	buf_clear(&move->error);
	if (!identity_compare(&move->source.session, &move->target.session, &how, &move->error))
		return false;
	return how != IDENTITY_SAME || move_fail(move, "clusters \"%s\" and \"%s\" are the same database",
											 move->source.name, move->target.name);
}

/*
 * A move begins with a namespace that is open, and as old as the directory says: one that is sealed was by
 * somebody who had a reason, one of another epoch is out of a backup, or the directory is.  So does one that
 * was begun before, but that may have sealed it itself.
 */
static bool check_source(struct move *move)
{
	struct buf why = {0};
	char epoch[24];
	bool done;

	snprintf(epoch, sizeof(epoch), "%" PRId64, move->epoch);
	done = move_ask(move, &move->source.session, &why, "look at the namespace", source_sql,
					MOVE_PARAMS(move->namespace_name, epoch, move->noted ? "t" : "f"));
	if (done && why.len > 1)
		done = move_fail(move, "namespace \"%s\" on cluster \"%s\" %s", move->namespace_name,
						 move->source.name, why.data);
	buf_free(&why);
	return done;
}

static bool open_sides(struct move *move)
{
	return open_side(move, &move->source) && open_side(move, &move->target) && check_apart(move) &&
		   (move->phase != MOVE_COPYING || check_source(move));
}

/* ---- steps ------------------------------------------------------------------ */

static void say(struct move *move, const char *what)
{
	printf("\"%s\" %s\n", move->namespace_name, what);
	fflush(stdout);
}

static bool start(struct move *move)
{
	if (move->phase != MOVE_COPYING)
		return move_fail(move, "namespace \"%s\" was switched already", move->namespace_name);
	if (!move_start(move))
		return false;
	say(move, "is copied, and the copy follows");
	return true;
}

/* After a switch: what is written at the target goes back to the source. */
static bool lead_back(struct move *move)
{
	bool done = move_unlink(move, &move->source, &move->target, move->link);

	move_die_at("unlinked");
	done = done && move_ask(move, &move->source.session, NULL, "let the old one follow",
							"SELECT millrace.move_subscribe($1, $2, $3, false)",
							MOVE_PARAMS(move->namespace_name, move->link_back, move->target.conninfo));
	move_die_at("led back");
	return done;
}

static bool switch_over(struct move *move)
{
	bool done = move->phase == MOVE_COPYING ? move_start(move) && move_transfer(move)
											: move->phase == MOVE_SWITCHED && move_settle(move);

	if (move->phase == MOVE_REVERSED)
		return move_fail(move, "namespace \"%s\" is being taken back; --reverse ends that",
						 move->namespace_name);
	return done && lead_back(move);
}

/* Ends all replication between the two, drops the copy that does not lead, and the move is over. */
static bool end(struct move *move, struct move_side *leader, struct move_side *copy)
{
	bool done = move_check_copy(move, leader, copy) &&
				move_unlink(move, &move->source, &move->target, move->link) &&
				move_unlink(move, &move->target, &move->source, move->link_back);

	move_die_at("ended");
	done = done && move_drop(move, copy);
	move_die_at("dropped");
	return done && move_forget(move);
}

static bool finish(struct move *move)
{
	if (move->phase == MOVE_COPYING)
		return move_fail(move, "namespace \"%s\" was not switched yet", move->namespace_name);
	if (!move_settle(move) || !(move->phase == MOVE_SWITCHED ? end(move, &move->target, &move->source)
															 : end(move, &move->source, &move->target)))
		return false;
	say(move, "is moved");
	return true;
}

static bool reverse(struct move *move)
{
	bool done = true;

	if (move->phase == MOVE_SWITCHED)
		done = move_settle(move) && lead_back(move) && move_transfer(move);
	else if (move->phase == MOVE_REVERSED)
		done = move_settle(move);
	else
		done = move_insist(move, &move->source.session, "take the seal off",
						   "SELECT millrace.set_namespace_state(name, 'open') FROM millrace.namespaces"
						   " WHERE name = $1 AND state = 'sealed'",
						   MOVE_PARAMS(move->namespace_name));
	if (!done || !end(move, &move->source, &move->target))
		return false;
	say(move, "is where it was");
	return true;
}

static bool run(struct move *move, const struct config *config)
{
	if (config->start)
		return start(move);
	if (config->switch_over)
		return switch_over(move);
	if (config->reverse)
		return reverse(move);
	if (config->finish)
		return finish(move);
	return (move->phase != MOVE_COPYING || start(move)) && switch_over(move) && finish(move);
}

/* ---- all of it -------------------------------------------------------------- */

static void free_side(struct move_side *side)
{
	session_close(&side->session);
	free(side->name);
	free(side->conninfo);
}

/* What is no connection string libpq would take for the name of a database. */
static bool check_strings(const struct config *config)
{
	const struct
	{
		const char *setting, *conninfo;
	} strings[] = {{"directory", config->directory},
				   {"source-database", config->source_database},
				   {"target-database", config->target_database}};
	struct buf error = {0};
	bool right = true;

	for (size_t i = 0; right && i < sizeof(strings) / sizeof(strings[0]); i++)
		right = strings[i].conninfo == NULL ||
				db_check_conninfo(strings[i].setting, strings[i].conninfo, NULL, &error);
	if (!right)
		fprintf(stderr, "millrace: %.*s\n", (int)error.len, error.data);
	buf_free(&error);
	return right;
}

int move_run(const struct config *config)
{
	struct move move = {.namespace_name = config->namespace_name,
						.max_pause = (uint64_t)config->max_pause * 1000};
	bool done;

	log_setup("warning", "text");
	if (!check_strings(config))
		return 2;
	move_catch_signals();
	done = look(&move, config) && open_sides(&move) && run(&move, config);
	if (!done)
		fprintf(stderr, "millrace: %.*s\n", move.error.len > 0 ? (int)move.error.len : 15,
				move.error.len > 0 ? move.error.data : "told to stop");
	session_close(&move.directory);
	free_side(&move.source);
	free_side(&move.target);
	buf_free(&move.error);
	return done ? 0 : 1;
}

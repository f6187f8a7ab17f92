/*
 * db_statements: the SQL of every prepared statement; calls_*.c have their parameters and the columns of
 * their answers, in the same order.
 */
#include "db/statement.h"

/* The frame goes in, the verdicts come out, both binary. */
const struct db_statement_info db_append_statement = {
	"millrace_append", "SELECT millrace.append_batch_packed($1::bytea)", 1, DB_ROLE_APPEND, false,
};

/* The same in a session that is only lent, so that nothing is set in it but for its transaction. */
const struct db_statement_info db_append_pooled = {
	"millrace_append",
	"SELECT millrace.append_batch_packed($1::bytea)"
	" FROM pg_catalog.set_config('lock_timeout', '" DB_LOCK_TIMEOUT "', true)",
	1,
	DB_ROLE_APPEND,
	false,
};

const struct db_statement_info db_read_stream_statement = {
	"millrace_read_stream",
	"SELECT body, count, next_position FROM millrace.json_read_stream($1::text, $2::text,"
	" $3::bigint, $4::bigint, $5::bigint, $6::text[], $7::int, $8::text)",
	8,
	DB_ROLE_READ,
	false,
};

const struct db_statement_info db_read_category_statement = {
	"millrace_read_category",
	"SELECT body, count, next_position FROM millrace.json_read_category($1::text, $2::text,"
	" $3::bigint, $4::bigint, $5::text, $6::bigint, $7::bigint, $8::text[], $9::int, $10::text)",
	10,
	DB_ROLE_READ,
	false,
};

const struct db_statement_info db_read_query_statement = {
	"millrace_read_query",
	"SELECT body, count, next_position, head, more,"
	" (SELECT millrace.check_removals(NULL, NULL, $3::bigint, $8::bigint, $1::text) WHERE $7::boolean)"
	" FROM millrace.json_read_query($1::text, $2::jsonb, $3::bigint, $4::bigint, $5::int, $6::text)",
	8,
	DB_ROLE_READ,
	false,
};

const struct db_statement_info db_last_message_statement = {
	"millrace_last_message",
	"SELECT millrace.json_last_message($1::text, $2::text, $3::text)",
	3,
	DB_ROLE_READ,
	false,
};

const struct db_statement_info db_stream_version_statement = {
	"millrace_stream_version",
	"SELECT millrace.json_stream_version($1::text, $2::text)",
	2,
	DB_ROLE_READ,
	false,
};

const struct db_statement_info db_head_statement = {
	"millrace_head", "SELECT millrace.head($1::text)", 1, DB_ROLE_READ, false,
};

/* What is behind the end of all is no position of a message that is there, so it may be of a removed one. */
const struct db_statement_info db_reach_statement = {
	"millrace_reach",
	"SELECT reached, CASE WHEN NOT reached THEN millrace.decided_to($1::text) END,"
	" NOT reached AND NOT pg_is_in_recovery() AND $2::bigint >= millrace.feed_head($1::text)"
	" FROM millrace.position_reached($2::bigint, $1::text) AS reached",
	2, DB_ROLE_READ, false};

const struct db_statement_info db_get_message_statement = {
	"millrace_get_message", "SELECT millrace.json_get_message($1::text, $2::uuid)", 2, DB_ROLE_READ, false,
};

const struct db_statement_info db_position_at_statement = {
	"millrace_position_at",
	"SELECT format('{\"position\":%s,\"head\":%s}', millrace.position_at('2000-01-01 00:00:00Z'::timestamptz"
	" + $2::bigint * interval '1 microsecond', $1::text), millrace.head($1::text))",
	2,
	DB_ROLE_READ,
	false,
};

const struct db_statement_info db_list_types_statement = {
	"millrace_list_types", "SELECT millrace.json_list_types($1::text, $2::text, $3::bigint, $4::bigint)", 4,
	DB_ROLE_LIST, false};

const struct db_statement_info db_recent_streams_statement = {
	"millrace_recent_streams",
	"SELECT millrace.json_recent_streams($1::text, $2::bigint, $3::bigint, $4::text, $5::bigint)", 5,
	DB_ROLE_LIST, false};

const struct db_statement_info db_search_messages_statement = {
	"millrace_search_messages", "SELECT millrace.json_search_messages($1::text, $2::jsonb)", 2, DB_ROLE_LIST,
	false};

const struct db_statement_info db_namespace_stats_statement = {
	"millrace_namespace_stats", "SELECT millrace.json_namespace_stats($1::text)", 1, DB_ROLE_READ, false};

const struct db_statement_info db_blocked_statement = {"millrace_blocked", "SELECT millrace.json_blocked()",
													   0, DB_ROLE_READ, false};

const struct db_statement_info db_list_streams_statement = {
	"millrace_list_streams", "SELECT millrace.json_list_streams($1::text, $2::text, $3::bigint, $4::text)", 4,
	DB_ROLE_LIST, false};

const struct db_statement_info db_list_categories_statement = {
	"millrace_list_categories", "SELECT millrace.json_list_categories($1::text)", 1, DB_ROLE_LIST, false};

const struct db_statement_info db_list_namespaces_statement = {
	"millrace_list_namespaces", "SELECT millrace.json_list_namespaces()", 0, DB_ROLE_LIST, false};

const struct db_statement_info db_describe_namespace_statement = {
	"millrace_describe_namespace", "SELECT millrace.json_describe_namespace($1::text)", 1, DB_ROLE_LIST,
	false};

const struct db_statement_info db_create_namespace_statement = {
	"millrace_create_namespace",
	"SELECT created, CASE WHEN $5::boolean THEN millrace.index_tags($1::text) END"
	" FROM millrace.json_create_namespace($1::text, $2::text, $3::text, $4::jsonb) AS created",
	5, DB_ROLE_SLOW, true};

const struct db_statement_info db_drop_namespace_statement = {
	"millrace_drop_namespace", "SELECT millrace.json_drop_namespace($1::text)", 1, DB_ROLE_SLOW, true};

const struct db_statement_info db_set_limits_statement = {
	"millrace_set_limits", "SELECT millrace.json_set_namespace_limits($1::text, $2::bigint, $3::bigint)", 3,
	DB_ROLE_SLOW, false};

const struct db_statement_info db_redact_statement = {
	"millrace_redact", "SELECT millrace.json_redact($1::text, $2::jsonb, $3::jsonb)", 3, DB_ROLE_SLOW, false};

/* Of a namespace: whether it is here, and as of when. */
#define PLACE_COLUMNS "n.state, n.epoch, n.moved_to"

const struct db_statement_info db_place_statement = {
	"millrace_place", "SELECT " PLACE_COLUMNS " FROM millrace.namespaces n WHERE n.name = $1::text", 1,
	DB_ROLE_READ, false};

const struct db_statement_info db_places_statement = {
	"millrace_places", "SELECT name, epoch FROM millrace.namespaces ORDER BY name COLLATE \"C\"", 0,
	DB_ROLE_READ, false};

const struct db_statement_info db_token_rights_statement = {
	"millrace_token_rights",
	"SELECT n.requests_per_second, n.bytes_per_second, t.rights, t.refusal,"
	" floor(extract(epoch FROM t.expires_at - clock_timestamp()) * 1000)::bigint, " PLACE_COLUMNS
	" FROM millrace.namespaces n LEFT JOIN millrace.token_rights($2::text, $1::text) t ON true"
	" WHERE n.name = $1::text",
	2, DB_ROLE_READ, false};

const struct db_statement_info db_create_token_statement = {
	"millrace_create_token",
	"SELECT millrace.json_create_token($1::text, $2::text, $3::text[], $4::text,"
	" '2000-01-01 00:00:00Z'::timestamptz + $5::bigint * interval '1 microsecond')",
	5, DB_ROLE_SLOW, true};

const struct db_statement_info db_list_tokens_statement = {
	"millrace_list_tokens", "SELECT millrace.json_list_tokens($1::text)", 1, DB_ROLE_LIST, false};

const struct db_statement_info db_revoke_token_statement = {
	"millrace_revoke_token", "SELECT millrace.json_revoke_token($1::text, $2::text)", 2, DB_ROLE_SLOW, false};

const struct db_statement_info db_ensure_namespace_statement = {
	"millrace_ensure_namespace",
	"SELECT (SELECT requests_per_second FROM millrace.namespaces WHERE name = $1::text),"
	" (SELECT bytes_per_second FROM millrace.namespaces WHERE name = $1::text),"
	" '{}'::text[], NULL, NULL, 'open', 1, NULL FROM millrace.ensure_namespace($1::text)",
	1, DB_ROLE_SLOW, false};

const struct db_statement_info db_read_feed_statement = {
	"millrace_read_feed",
	"SELECT stream, \"position\", global_position, poke,"
	" millrace.hash_64(millrace.cardinal_id(stream)), matches"
	" FROM millrace.read_feed($1::text, $2::bigint, $3::int, false, $4::jsonb)",
	4, DB_ROLE_READ, false};

const struct db_statement_info db_read_feed_whole_statement = {
	"millrace_read_feed_whole",
	"SELECT stream, \"position\", global_position, poke, "
	"millrace.hash_64(millrace.cardinal_id(stream)), matches, message"
	" FROM (SELECT *, sum(octet_length(message)) OVER (ORDER BY global_position) - octet_length(message)"
	" AS before FROM millrace.read_feed($1::text, $2::bigint, $3::int, true, $4::jsonb)) AS page"
	" WHERE before < $5::bigint",
	5, DB_ROLE_READ, false};

#define FEED_STATE                                                                                           \
	"SELECT millrace.feed_head(n.name), n.created_at,"                                                       \
	" ARRAY(SELECT hash FROM unnest($2::text[]) hash WHERE NOT EXISTS (SELECT"                               \
	" FROM millrace.token_rights(hash, n.name) t WHERE t.refusal IS NULL AND 'read' = ANY "                  \
	"(t.rights))), " PLACE_COLUMNS " FROM millrace.namespaces n WHERE n.name = $1::text"

const struct db_statement_info db_feed_state_statement = {"millrace_feed_state", FEED_STATE, 2, DB_ROLE_READ,
														  false};

/* The same of the primary, which knows the latest of tokens. */
const struct db_statement_info db_feed_tokens_statement = {"millrace_feed_tokens", FEED_STATE, 2,
														   DB_ROLE_READ, false};

const struct db_statement_info db_read_pokes_statement = {
	"millrace_read_pokes",
	"SELECT body, next_position, state FROM millrace.read_pokes($1::text, $2::text, $3::text,"
	" $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::boolean, $9::boolean, $10::int, $11::bigint,"
	" $12::text[], $13::text, $14::jsonb)",
	14, DB_ROLE_READ, false};

const struct db_statement_info db_subscribe_head_statement = {
	"millrace_subscribe_head",
	"SELECT millrace.feed_head($1::text) - 1, pg_is_in_recovery(),"
	" CASE WHEN $2::text IS NOT NULL THEN"
	" millrace.json_stream_version($1::text, $2::text) END",
	2, DB_ROLE_READ, false};

/* A call that is sent again finds the claim that it was given, by its request. */
const struct db_statement_info db_consumer_next_statement = {
	"millrace_consumer_next",
	"SELECT body, claim, next_due_ms, expired, granted"
	" FROM millrace.json_consumer_next($1::text, $2::text, $3::jsonb)",
	3, DB_ROLE_CONSUME, false};

const struct db_statement_info db_consumer_settle_statement = {
	"millrace_consumer_settle",
	"SELECT settled, claims_settled, claims_lost, messages_failed"
	" FROM millrace.json_consumer_settle($1::text, $2::text, $3::jsonb)",
	3, DB_ROLE_CONSUME, false};

const struct db_statement_info db_consumer_release_statement = {
	"millrace_consumer_release",
	"SELECT millrace.json_consumer_release($1::text, $2::text, $3::bigint, $4::bigint)", 4, DB_ROLE_CONSUME,
	false};

const struct db_statement_info db_consumer_statement = {
	"millrace_consumer", "SELECT millrace.json_consumer($1::text, $2::text, $3::text, $4::jsonb)", 4,
	DB_ROLE_CONSUME, false};

/* The same for those that only read, so that a standby answers them. */
const struct db_statement_info db_consumer_read_statement = {
	"millrace_consumer_read", "SELECT millrace.json_consumer($1::text, $2::text, $3::text, $4::jsonb)", 4,
	DB_ROLE_READ, false};

const struct db_statement_info db_removal_statement = {
	"millrace_removal",
	"SELECT millrace.json_removal($1::text, $2::text, $3::text, $4::bigint, $5::boolean, $6::bigint)", 6,
	DB_ROLE_SLOW, false};

const struct db_statement_info db_export_statement = {
	"millrace_export",
	"SELECT body, count, next_position, last_position, pg_snapshot_xmin(pg_current_snapshot())"
	" FROM millrace.json_export($1::text, $2::bigint,"
	" $3::text[], '2000-01-01 00:00:00Z'::timestamptz + $4::bigint * interval '1 microsecond',"
	" '2000-01-01 00:00:00Z'::timestamptz + $5::bigint * interval '1 microsecond', $6::int, $7::jsonb,"
	" '2000-01-01 00:00:00Z'::timestamptz + $8::bigint * interval '1 microsecond')",
	8, DB_ROLE_EXPORT, false};

const struct db_statement_info db_export_end_statement = {
	"millrace_export_end",
	"SELECT body, next FROM millrace.json_export_end($1::text, $2::bytea, $3::xid8, $4::bigint, $5::int)", 5,
	DB_ROLE_EXPORT, false};

const struct db_statement_info db_empty_namespace_statement = {
	"millrace_empty_namespace", "SELECT millrace.empty_namespace($1::text)", 1, DB_ROLE_IMPORT, false};

const struct db_statement_info db_remove_archived_statement = {
	"millrace_remove_archived", "SELECT millrace.json_remove_archived($1::text, $2::jsonb, $3::boolean)", 3,
	DB_ROLE_SLOW, false};

const struct db_statement_info db_purge_statements_statement = {
	"millrace_purge_statements", "SELECT millrace.purge_statements($1::text, $2::boolean)", 2, DB_ROLE_SLOW,
	false};

const struct db_statement_info db_purge_left_statement = {
	"millrace_purge_left", "SELECT millrace.purge_left($1::text, $2::boolean)", 2, DB_ROLE_SLOW, false};

const struct db_statement_info db_run_statement = {"", NULL, 1, DB_ROLE_SLOW, true};

const struct db_statement_info db_import_statement = {
	"millrace_import",
	"SELECT imported, failed_record, sqlstate, message, last_global_position"
	" FROM millrace.import_batch($1::text, $2::bytea)",
	2, DB_ROLE_IMPORT, true};

/* The division by zero takes back what the function did. */
const struct db_statement_info db_import_trial_statement = {
	"millrace_import_trial",
	"SELECT 1 / (imported - imported) FROM millrace.import_batch($1::text, $2::bytea)", 2, DB_ROLE_IMPORT,
	false};

const struct db_statement_info db_appending_statement = {
	"millrace_appending",
	"SELECT namespace, count(*), extract(epoch from max(age))::float8"
	" FROM millrace.appending WHERE xid IS NOT NULL GROUP BY 1 ORDER BY 3 DESC NULLS LAST",
	0, DB_ROLE_READ, false};

const struct db_statement_info db_consumer_metrics_statement = {
	"millrace_consumer_metrics",
	"SELECT namespace, consumer, state, ceiling, floor, lag, lag_seconds, in_flight, claim_seconds, retrying,"
	" parked FROM millrace.consumer_metrics($1::int, $2::int)",
	2, DB_ROLE_READ, false};

/* The same reads, which fail where messages were removed that would have been among them. */
const struct db_statement_info db_read_stream_strict_statement = {
	"millrace_read_stream_strict",
	"SELECT body, count, next_position FROM millrace.json_read_stream($1::text, $2::text,"
	" $3::bigint, $4::bigint, $5::bigint, $6::text[], $7::int, $8::text),"
	" millrace.check_removals($2::text, NULL, $3::bigint, $9::bigint, $1::text, $4::bigint)",
	9,
	DB_ROLE_READ,
	false,
};

const struct db_statement_info db_read_category_strict_statement = {
	"millrace_read_category_strict",
	"SELECT body, count, next_position FROM millrace.json_read_category($1::text, $2::text,"
	" $3::bigint, $4::bigint, $5::text, $6::bigint, $7::bigint, $8::text[], $9::int, $10::text),"
	" millrace.check_removals(NULL, $2::text, $3::bigint, $11::bigint, $1::text)",
	11,
	DB_ROLE_READ,
	false,
};

const struct db_statement_info db_read_pokes_strict_statement = {
	"millrace_read_pokes_strict",
	"SELECT body, next_position, state FROM millrace.read_pokes($1::text, $2::text, $3::text,"
	" $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::boolean, $9::boolean, $10::int, $11::bigint,"
	" $12::text[], $13::text, $14::jsonb),"
	" millrace.check_removals($2::text, $3::text, $4::bigint, $15::bigint, $1::text, $11::bigint)",
	15, DB_ROLE_READ, false};

const struct db_statement_info db_retention_statement = {
	"millrace_retention", "SELECT millrace.json_retention($1::text, $2::text, $3::text, $4::jsonb)", 4,
	DB_ROLE_SLOW, false};

const struct db_statement_info db_retention_read_statement = {
	"millrace_retention_read", "SELECT millrace.json_retention($1::text, $2::text, $3::text, $4::jsonb)", 4,
	DB_ROLE_LIST, false};

/* Nobody waits for it, and what a crash undoes is swept again: appends wait for no flush of its own. */
const struct db_statement_info db_sweep_statement = {
	"millrace_sweep",
	"SELECT removed, more, held_by, held_position"
	" FROM set_config('synchronous_commit', 'off', true),"
	" millrace.sweep_step($1::text, $2::bigint, false, false)",
	2, DB_ROLE_SLOW, false};

const struct db_statement_info db_sweeps_due_statement = {
	"millrace_sweeps_due", "SELECT millrace.sweeps_due($1::bigint)", 1, DB_ROLE_SLOW, false};

const struct db_statement_info db_retention_held_statement = {
	"millrace_retention_held",
	"SELECT namespace, bool_or(held_by IS NOT NULL) FROM millrace.sweeps GROUP BY 1 ORDER BY 1", 0,
	DB_ROLE_READ, false};

/*
 * Where namespaces are, tokens, consumers and who is in the way, of which the primary knows the latest; of a
 * subscription's place, too.
 */
static const struct db_statement_info *const of_primary[] = {
	&db_place_statement,
	&db_places_statement,
	&db_token_rights_statement,
	&db_feed_tokens_statement,
	&db_list_tokens_statement,
	&db_list_namespaces_statement,
	&db_describe_namespace_statement,
	&db_retention_read_statement,
	&db_retention_held_statement,
	&db_consumer_read_statement,
	&db_consumer_metrics_statement,
	&db_namespace_stats_statement,
	&db_blocked_statement,
	&db_appending_statement,
	&db_subscribe_head_statement,
};

bool db_is_of_primary(const struct db_statement_info *statement)
{
	for (size_t i = 0; i < sizeof(of_primary) / sizeof(of_primary[0]); i++)
	{
		if (of_primary[i] == statement)
			return true;
	}
	return false;
}

const struct db_statement_info *const db_statements[] = {
	&db_read_stream_statement,
	&db_read_category_statement,
	&db_last_message_statement,
	&db_stream_version_statement,
	&db_place_statement,
	&db_places_statement,
	&db_token_rights_statement,
	&db_create_token_statement,
	&db_list_tokens_statement,
	&db_revoke_token_statement,
	&db_set_limits_statement,
	&db_redact_statement,
	&db_list_streams_statement,
	&db_list_categories_statement,
	&db_list_namespaces_statement,
	&db_describe_namespace_statement,
	&db_create_namespace_statement,
	&db_drop_namespace_statement,
	&db_ensure_namespace_statement,
	&db_export_statement,
	&db_empty_namespace_statement,
	&db_import_statement,
	&db_import_trial_statement,
	&db_read_pokes_statement,
	&db_read_feed_statement,
	&db_read_feed_whole_statement,
	&db_feed_state_statement,
	&db_feed_tokens_statement,
	&db_head_statement,
	&db_reach_statement,
	&db_get_message_statement,
	&db_position_at_statement,
	&db_list_types_statement,
	&db_recent_streams_statement,
	&db_search_messages_statement,
	&db_namespace_stats_statement,
	&db_blocked_statement,
	&db_subscribe_head_statement,
	&db_consumer_next_statement,
	&db_consumer_settle_statement,
	&db_consumer_release_statement,
	&db_consumer_statement,
	&db_removal_statement,
	&db_consumer_read_statement,
	&db_appending_statement,
	&db_consumer_metrics_statement,
	&db_read_query_statement,
	&db_read_stream_strict_statement,
	&db_read_category_strict_statement,
	&db_read_pokes_strict_statement,
	&db_retention_statement,
	&db_retention_read_statement,
	&db_sweep_statement,
	&db_sweeps_due_statement,
	&db_retention_held_statement,
	&db_export_end_statement,
	&db_remove_archived_statement,
	&db_purge_statements_statement,
	&db_purge_left_statement,
	NULL, /* ends them */
};

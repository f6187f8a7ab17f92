/*
 * db_statements: all prepared statements; the SQL of most is in the calls_*.c, beside their parameters and answers.
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

const struct db_statement_info *const db_statements[DB_STATEMENTS] = {
	[DB_READ_STREAM] = &db_read_stream_statement,
	[DB_READ_CATEGORY] = &db_read_category_statement,
	[DB_LAST_MESSAGE] = &db_last_message_statement,
	[DB_STREAM_VERSION] = &db_stream_version_statement,
	[DB_TOKEN_HASH] = &db_token_hash_statement,
	[DB_SET_LIMITS] = &db_set_limits_statement,
	[DB_LIST_STREAMS] = &db_list_streams_statement,
	[DB_LIST_CATEGORIES] = &db_list_categories_statement,
	[DB_LIST_NAMESPACES] = &db_list_namespaces_statement,
	[DB_DESCRIBE_NAMESPACE] = &db_describe_namespace_statement,
	[DB_CREATE_NAMESPACE] = &db_create_namespace_statement,
	[DB_DROP_NAMESPACE] = &db_drop_namespace_statement,
	[DB_ENSURE_NAMESPACE] = &db_ensure_namespace_statement,
	[DB_EXPORT] = &db_export_statement,
	[DB_EMPTY_NAMESPACE] = &db_empty_namespace_statement,
	[DB_IMPORT] = &db_import_statement,
	[DB_IMPORT_TRIAL] = &db_import_trial_statement,
	[DB_READ_POKES] = &db_read_pokes_statement,
	[DB_READ_FEED] = &db_read_feed_statement,
	[DB_READ_FEED_WHOLE] = &db_read_feed_whole_statement,
	[DB_FEED_STATE] = &db_feed_state_statement,
	[DB_HEAD] = &db_head_statement,
	[DB_SUBSCRIBE_HEAD] = &db_subscribe_head_statement,
	[DB_APPENDING] =
		&(const struct db_statement_info){
			"millrace_appending",
			"SELECT namespace, count(*), extract(epoch from max(age))::float8"
			" FROM millrace.appending WHERE xid IS NOT NULL GROUP BY 1 ORDER BY 3 DESC NULLS LAST",
			0, DB_ROLE_READ, false},
};

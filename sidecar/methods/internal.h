/*
 * methods_internal: what the files of methods/ share.
 *
 * Functions that return bool and take a call return false when they have set call->error.
 */
#ifndef MILLRACE_METHODS_INTERNAL_H
#define MILLRACE_METHODS_INTERNAL_H

#include "db/calls.h"
#include "base/json.h"
#include "base/rights.h"
#include "methods/methods.h"

#include "extension/protocol.h"

/* ---- table.c ------------------------------------------------------------- */

struct method
{
	const char *name;
	enum right right; /* that a token needs */
	bool ours;		  /* not one of EventoDB's, whose clients may send keys that it does not know */
	const char *arguments[METHOD_MAX_ARGS]; /* their names in JSON-RPC */
	bool (*run)(struct method_call *call);
};

/* ---- discover.c ---------------------------------------------------------- */

/* Appends the document of these methods. */
void discover_write(struct buf *out, const struct method *methods, size_t nmethods);

/* ---- reference.c --------------------------------------------------------- */

extern const char method_reference[];
/* The types that begin with a capital letter, each a line: the name and the type. */
extern const char type_reference[];

/* ---- call.c ------------------------------------------------------------- */

/* Sets call->error; false. */
bool method_fail(struct method_call *call, enum error_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same from what came of a statement; `error` counts with DB_ERROR. */
bool method_fail_status(struct method_call *call, enum db_status status, const struct db_error *error);
void method_answer_error(struct method_call *call); /* with call->error */
/* The call ends before its answer is sent, so the text must be none of its own. */
void method_answer_text(struct method_call *call, const char *bytes, size_t len);
/* Whether the token may administer namespace default, and so all of them. */
bool method_is_administrator(const struct method_call *call);
/* False: there was no memory for the texts; before a statement is asked. */
bool method_has_texts(struct method_call *call);
/* Where the call is to be answered, for its statement. */
struct db_reading method_reading(const struct method_call *call);
/* For what asking a statement returned: fails when a queue was full. */
bool method_asked(struct method_call *call, bool asked);
/* A db_query_done: answers with the answer, which is JSON text. */
void method_on_value(void *arg, struct db_reply *reply);
/* JSON text of an answer as a piece, which takes the answer along when that saves a large copy. */
struct piece method_piece(struct db_reply *reply, struct slice text);
/* A text of the call's as a piece, which takes all of them along: the call has none afterwards. */
struct piece method_own_piece(struct method_call *call, unsigned text);

/* ---- again.c ------------------------------------------------------------- */

/*
 * Whether a call that has failed, because its namespace is sealed or has moved, waits for that and is made
 * again; then it answers later.
 */
bool method_is_made_again(struct method_call *call);
/* Nobody waits for a call; false: it does not wait for its namespace. */
bool method_leave(struct method_call *call);
/* Waits before it is made, where others wait for its namespace already. */
bool method_waits(struct method_call *call);
/* The call is about a namespace, in text i, and asks where that is; false: it can't be reached. */
bool method_go_to(struct method_call *call, unsigned i);
/* The id of the call, the same when it is made again. */
const struct uuid *method_request(struct method_call *call);

/* ---- args.c --------------------------------------------------------------- */

/* A member of an object that a method knows. */
#define MAX_MEMBERS 12 /* of an object that is given to args_members */

struct member
{
	const char *name;
	struct slice value; /* .bytes NULL: absent */
};

/* Fails with "<where><field> must be <wanted>, not <value>". */
bool args_reject(struct method_call *call, const char *field, struct slice value, const char *wanted);
/*
 * Finds the members; of duplicates the last wins.  `field` names the object.  Any other key is refused when
 * the call is strict or when it is nearly one of these, else ignored.
 */
bool args_members(struct method_call *call, struct slice object, const char *field, struct member *members,
				  unsigned nmembers);
/* The same for an options argument, which may be absent; null is refused for the whole and each option. */
bool args_options(struct method_call *call, struct slice options, struct member *members, unsigned nmembers);
/* Judges a key, with its quotes, that is none of the members: true, it is ignored. */
bool args_unknown_key(struct method_call *call, const char *field, struct slice key,
					  const struct member *members, unsigned nmembers);
/* The same of a call that only reads messages: it knows minPosition, too. */
bool args_reading(struct method_call *call, struct slice options, struct member *members, unsigned nmembers);
/* Leaves *value alone when absent. */
bool args_integer(struct method_call *call, const char *field, struct slice value, int64_t min, int64_t max,
				  int64_t *result);
/* Leaves *result alone when absent. */
bool args_boolean(struct method_call *call, const char *field, struct slice value, bool *result);
/* "forward" or "backward"; leaves *backward alone when absent. */
bool args_direction(struct method_call *call, const char *field, struct slice value, bool *backward);
/* A time (RFC 3339) as microseconds since 2000-01-01 UTC; leaves *result alone when absent. */
bool args_time(struct method_call *call, const char *field, struct slice value, int64_t *result);
bool args_object(struct method_call *call, const char *field, struct slice value);
/* Appends a string to `out`, decoded; *len is its length. */
bool args_decode(struct method_call *call, const char *field, struct slice value, struct buf *out,
				 size_t *len);
/* Decodes a string into text i; an absent one becomes NULL. */
bool args_text(struct method_call *call, unsigned i, const char *field, struct slice value);
/* The same for one that must be there and not be empty, nor longer than max bytes. */
bool args_name(struct method_call *call, unsigned i, const char *field, struct slice value, size_t max);
/* An array of strings into text i, as text[]. */
bool args_text_array(struct method_call *call, unsigned i, const char *field, struct slice value);
/*
 * The first argument, a namespace, into text i: any of the administrator's, else the token's own.  The
 * call is about that one then.
 */
bool args_own_namespace(struct method_call *call, unsigned i);
void args_set(struct method_call *call, unsigned i, const char *text);		  /* NULL = NULL */
void args_set_json(struct method_call *call, unsigned i, struct slice value); /* copies it */
const char *args_get(const struct method_call *call, unsigned i);

/* ---- namespace.c, for tokens.c, too ------------------------------------------- */

/* All workers look tokens and limits up again.  Before the reply goes out, which promises that. */
void method_forget_tokens(struct method_call *call);
/* The token that is wanted, checked, or without one a new one; and its hash. */
bool method_choose_token(struct method_call *call, struct slice wanted, unsigned namespace_text,
						 unsigned token_text, unsigned hash_text);
/* Answers with what was created, and the token put into it. */
void method_answer_created(struct method_call *call, struct db_reply *reply, const char *token);

/* ---- the methods: true = the answer comes through `done` ---------------------- */

bool method_stream_write(struct method_call *call);
bool method_stream_append(struct method_call *call);
bool method_streams_append(struct method_call *call);
bool method_stream_get(struct method_call *call);
bool method_stream_last(struct method_call *call);
bool method_stream_version(struct method_call *call);
bool method_stream_head(struct method_call *call);
bool method_stream_removal(struct method_call *call);
bool method_query_get(struct method_call *call);
bool method_category_get(struct method_call *call);
bool method_namespace_create(struct method_call *call);
bool method_namespace_delete(struct method_call *call);
bool method_namespace_list(struct method_call *call);
bool method_namespace_set_limits(struct method_call *call);
/* The member `removed` of an answer; 0 where there is none. */
uint64_t method_count_removed(const struct db_reply *reply);
bool method_namespace_set_retention(struct method_call *call);
bool method_namespace_retention(struct method_call *call);
bool method_namespace_sweep(struct method_call *call);
bool method_namespace_purge(struct method_call *call);
bool method_messages_remove(struct method_call *call);
bool method_namespace_info(struct method_call *call);
bool method_namespace_streams(struct method_call *call);
bool method_namespace_categories(struct method_call *call);
bool method_tokens_list(struct method_call *call);
bool method_token_create(struct method_call *call);
bool method_token_revoke(struct method_call *call);
bool method_system_version(struct method_call *call);
bool method_system_health(struct method_call *call);
bool method_system_stats(struct method_call *call);
bool method_system_blocked(struct method_call *call);
bool method_system_connections(struct method_call *call);
bool method_message_get(struct method_call *call);
bool method_message_redact(struct method_call *call);
bool method_position_at(struct method_call *call);
bool method_streams_recent(struct method_call *call);
bool method_messages_search(struct method_call *call);
bool method_namespace_types(struct method_call *call);
void method_next_page(struct method_call *call);
bool method_consumer_next(struct method_call *call);
bool method_consumer(struct method_call *call);
bool method_consumer_read(struct method_call *call);
bool method_consumer_list(struct method_call *call);

/* ---- waiting.c ------------------------------------------------------------- */

enum next_text
{
	NEXT_CONSUMER,
	NEXT_REQUEST, /* a JSON object, as json_consumer_next() takes it, without what is to be settled */
	NEXT_SETTLE,  /* the same with it; NULL: nothing is to be settled, or it was */
	NEXT_SETTLED, /* what came of that; NULL: not known yet, or nothing was */
};

/* Asks for a claim, and waits until the deadline for one; answers the call. */
bool consumers_next(struct method_call *call, uint64_t deadline_ms);
/* Nobody waits for the call any more. */
void consumers_abandon(struct method_call *call);
/* A claim of the consumer was settled: what waits may go on. */
void consumers_settled(struct methods *methods, const char *namespace_name, const char *consumer);

#endif

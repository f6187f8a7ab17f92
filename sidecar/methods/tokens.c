/*
 * tokens.c: ns.tokens, ns.createToken, ns.revokeToken: the tokens of a namespace beside its first one.
 *
 * A token is made here, and only its hash goes to Postgres, so the answer gets it put in.
 */
#include "access/token.h"
#include "methods/internal.h"

enum token_text
{
	TOKEN_NAMESPACE,
	TOKEN_NAME,
	TOKEN_RIGHTS,
	TOKEN_HASH,
	TOKEN,
};

bool method_tokens_list(struct method_call *call)
{
	return args_own_namespace(call, TOKEN_NAMESPACE) &&
		   method_asked(call,
						db_list_tokens(call->db, args_get(call, TOKEN_NAMESPACE), method_on_value, call));
}

static void on_revoked(void *arg, struct db_reply *reply)
{
	method_forget_tokens(arg); /* also after a failure: it may have been carried out */
	method_on_value(arg, reply);
}

bool method_token_revoke(struct method_call *call)
{
	return args_own_namespace(call, TOKEN_NAMESPACE) &&
		   args_name(call, TOKEN_NAME, "name", call->args[1], MAX_TOKEN_NAME) &&
		   method_asked(call, db_revoke_token(call->db, args_get(call, TOKEN_NAMESPACE),
											  args_get(call, TOKEN_NAME), on_revoked, call));
}

static void on_created(void *arg, struct db_reply *reply)
{
	method_answer_created(arg, reply, args_get(arg, TOKEN));
}

bool method_token_create(struct method_call *call)
{
	struct member options[] = {{.name = "rights"}, {.name = "expiresAt"}, {.name = "token"}};
	struct db_create_token in = {.expires_at = {.is_set = false}};

	if (!args_own_namespace(call, TOKEN_NAMESPACE) ||
		!args_name(call, TOKEN_NAME, "name", call->args[1], MAX_TOKEN_NAME))
		return false;
	if (call->args[2].bytes == NULL)
		return args_reject(call, "options", call->args[2], "an object");
	if (!args_options(call, call->args[2], options, 3))
		return false;
	if (options[0].value.bytes == NULL)
		return args_reject(call, "options.rights", options[0].value, "an array of strings");
	if (!args_text_array(call, TOKEN_RIGHTS, "options.rights", options[0].value) ||
		!args_time(call, "options.expiresAt", options[1].value, &in.expires_at.value) ||
		!method_choose_token(call, options[2].value, TOKEN_NAMESPACE, TOKEN, TOKEN_HASH))
		return false;
	in.namespace_name = args_get(call, TOKEN_NAMESPACE);
	in.name = args_get(call, TOKEN_NAME);
	in.rights = args_get(call, TOKEN_RIGHTS);
	in.token_hash = args_get(call, TOKEN_HASH);
	in.expires_at.is_set = options[1].value.bytes != NULL;
	return method_asked(call, db_create_token(call->db, &in, on_created, call));
}

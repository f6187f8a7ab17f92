/*
 * tokens.c: the tokens that the listeners of a feed came with (see feed_internal.h).
 *
 * A feed reads for all of them, and its question about the state has them all.
 */
#include "live/feed_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void drop(struct feed *feed, struct feed_token *token)
{
	TAILQ_REMOVE(&feed->tokens, token, link);
	free(token);
}

bool feed_token_enter(struct feed *feed, const char *hash, struct listener *listener)
{
	struct feed_token *token = TAILQ_FIRST(&feed->tokens);

	while (token != NULL && strcmp(token->hash, hash) != 0)
		token = TAILQ_NEXT(token, link);
	if (token == NULL)
	{
		token = calloc(1, sizeof(*token));
		if (token == NULL)
			return false;
		snprintf(token->hash, sizeof(token->hash), "%s", hash);
		TAILQ_INIT(&token->listeners);
		TAILQ_INSERT_TAIL(&feed->tokens, token, link);
	}
	TAILQ_INSERT_TAIL(&token->listeners, listener, with_token);
	listener->token = token;
	return true;
}

void feed_token_leave(struct listener *listener)
{
	struct feed_token *token = listener->token;

	TAILQ_REMOVE(&token->listeners, listener, with_token);
	if (TAILQ_EMPTY(&token->listeners))
		drop(listener->feed, token);
}

bool feed_tokens_ask(struct feed *feed, bool of_primary, db_query_done done)
{
	struct buf hashes = {0}; /* an array literal */
	struct db_feed_question in;
	bool asked;

	buf_add_str(&hashes, "{");
	for (const struct feed_token *token = TAILQ_FIRST(&feed->tokens); token != NULL;
		 token = TAILQ_NEXT(token, link))
		buf_printf(&hashes, "%s%s", hashes.len > 1 ? "," : "", token->hash);
	buf_add(&hashes, "}", 2); /* with its NUL */
	in = (struct db_feed_question){
		.namespace_name = feed->name, .token_hashes = hashes.data, .of_primary = of_primary};
	asked = !hashes.failed && db_feed_state(feed->place->db, &in, done, feed);
	buf_free(&hashes);
	return asked;
}

struct listener *feed_tokens_find(const struct feed *feed, const char *hashes)
{
	for (const struct feed_token *token = TAILQ_FIRST(&feed->tokens); token != NULL;
		 token = TAILQ_NEXT(token, link))
	{
		if (hashes == NULL || strstr(hashes, token->hash) != NULL)
			return TAILQ_FIRST(&token->listeners);
	}
	return NULL;
}

/*
 * queries.c: the queries that the channels of a feed have (see feed_internal.h).
 *
 * Whether a message matches a query is decided in one place, the extension (core/query.c).  So the feed's
 * question has the queries of all that follow, each once, and its answer says of each message which of them
 * it matches.
 */
#include <stdlib.h>
#include <string.h>

#include "live/feed_internal.h"

static struct feed_query *find(const struct feed *feed, uint32_t hash, struct slice text)
{
	struct feed_query *query = TAILQ_FIRST(&feed->queries.list);

	while (query != NULL &&
		   !(query->hash == hash && query->len == text.len && memcmp(query->text, text.bytes, text.len) == 0))
		query = TAILQ_NEXT(query, link);
	return query;
}

struct feed_query *feed_query_take(struct feed *feed, uint32_t hash, struct slice text)
{
	struct feed_query *query = find(feed, hash, text);

	if (query == NULL)
	{
		query = calloc(1, sizeof(*query) + text.len);
		if (query == NULL)
			return NULL;
		query->hash = hash;
		query->len = text.len;
		memcpy(query->text, text.bytes, text.len);
		TAILQ_INSERT_TAIL(&feed->queries.list, query, link);
		feed->queries.n++;
	}
	query->users++;
	return query;
}

static void dispose_unused(struct feed *feed, struct feed_query *query)
{
	if (query->users > 0 || query->asked)
		return;
	TAILQ_REMOVE(&feed->queries.list, query, link);
	feed->queries.n--;
	free(query);
}

void feed_query_give_back(struct feed *feed, struct feed_query *query)
{
	query->users--;
	dispose_unused(feed, query);
}

void feed_queries_ask(struct feed *feed, struct buf *out)
{
	struct feed_queries *queries = &feed->queries;

	if (queries->n == 0)
		return;
	queries->asked = calloc(queries->n, sizeof(struct feed_query *));
	if (queries->asked == NULL)
	{
		out->failed = true;
		return;
	}
	for (struct feed_query *query = TAILQ_FIRST(&queries->list); query != NULL;
		 query = TAILQ_NEXT(query, link))
	{
		buf_add_str(out, queries->nasked == 0 ? "[" : ",");
		buf_add(out, query->text, query->len);
		query->asked = true;
		queries->asked[queries->nasked++] = query;
	}
	buf_add(out, "]", 2);
}

bool feed_query_is_asked(const struct feed *feed, uint32_t hash, struct slice text)
{
	const struct feed_query *query = find(feed, hash, text);

	return query != NULL && query->asked;
}

const struct feed_query *feed_queries_next(const struct feed *feed, struct slice *matches)
{
	unsigned number = 0;
	size_t len = 0;

	while (len < matches->len && matches->bytes[len] != ' ')
		number = number * 10 + (unsigned)(matches->bytes[len++] - '0');
	if (len == matches->len || number >= feed->queries.nasked)
		return NULL;
	*matches = (struct slice){matches->bytes + len + 1, matches->len - len - 1};
	return feed->queries.asked[number];
}

void feed_queries_answered(struct feed *feed)
{
	struct feed_queries *queries = &feed->queries;

	for (unsigned i = 0; i < queries->nasked; i++)
	{
		queries->asked[i]->asked = false;
		dispose_unused(feed, queries->asked[i]);
	}
	free(queries->asked);
	queries->asked = NULL;
	queries->nasked = 0;
}

/*
 * feed_channel: which listeners get which message; see feed_internal.h.
 *
 * Listeners with the same filter share a channel.  Channels are found by the stream and the category of a
 * message, so a message costs as much as the channels that it belongs to, however many there are.  Of each
 * page a channel's events are written once, and every listener is handed the end of that text that is new to
 * it: one that joins while a page is read again from further back gets more of it than the others.
 *
 * A channel is owned by the table, and lives as long as a listener follows it.
 */
#include <stdlib.h>

#include "base/cloudevent.h"
#include "live/feed_internal.h"
#include "base/log.h"
#include "base/names.h"
#include "http/sse.h"

#define MIN_BUCKETS 64

struct feed_channel
{
	struct feed_channel *next; /* of its bucket */
	struct feed *feed;
	uint32_t hash;
	struct feed_filter filter; /* what it points to is the channel's own, below */
	struct feed_query *query;  /* of FEED_QUERY */
	size_t name_len;
	struct listener_list following;
	/* The events of the page that is being handed out. */
	struct feed_channel *next_touched;
	bool touched;
	struct buf text;
	struct feed_event *events;
	unsigned nevents, capacity;
	char name[]; /* of the filter; behind it its types and its correlation */
};

/* One message of a page. */
struct row
{
	struct slice stream, category, poke, message, id, matches;
	int64_t position, global_position;
	bool has_group_hash;
	uint64_t group_hash;
	struct feed_content *content; /* of `message` */
};

/* ---- the table ---------------------------------------------------------------- */

static uint32_t key_hash(const struct feed *feed, enum feed_source source, struct slice name)
{
	return feed_hash(feed->hash * 31 + (uint32_t)source, name);
}

uint32_t channel_hash(const struct feed *feed, const struct feed_filter *filter)
{
	return key_hash(feed, filter->source, slice_of(filter->name));
}

static struct feed_channel **bucket(const struct channel_table *table, uint32_t hash)
{
	return &table->buckets[hash & (table->nbuckets - 1)];
}

static void grow(struct channel_table *table)
{
	struct channel_table larger = {.nbuckets = table->nbuckets * 2, .nchannels = table->nchannels};

	larger.buckets = calloc(larger.nbuckets, sizeof(struct feed_channel *));
	if (larger.buckets == NULL)
		return; /* it works on as it is */
	for (unsigned i = 0; i < table->nbuckets; i++)
	{
		struct feed_channel *channel;

		while ((channel = table->buckets[i]) != NULL)
		{
			struct feed_channel **to = bucket(&larger, channel->hash);

			table->buckets[i] = channel->next;
			channel->next = *to;
			*to = channel;
		}
	}
	free(table->buckets);
	*table = larger;
}

static bool is_keyed(const struct feed_channel *channel, const struct feed *feed, enum feed_source source,
					 uint32_t hash, struct slice name)
{
	return channel->hash == hash && channel->feed == feed && channel->filter.source == source &&
		   channel->name_len == name.len && memcmp(channel->name, name.bytes, name.len) == 0;
}

/* The key is the same. */
static bool has_form(const struct feed_channel *channel, const struct feed_filter *filter)
{
	const struct feed_filter *own = &channel->filter;

	return own->member == filter->member && own->size == filter->size && own->ids == filter->ids &&
		   own->messages == filter->messages && own->cloudevents == filter->cloudevents &&
		   own->chunked == filter->chunked && feed_same_content(own, filter);
}

/* Takes the filter, and what it points to behind the channel itself. */
static void keep_filter(struct feed_channel *channel, const struct feed_filter *filter)
{
	char *to = channel->name;

	channel->filter = *filter;
	channel->name_len = strlen(filter->name);
	memcpy(to, filter->name, channel->name_len + 1);
	channel->filter.name = to;
	to += channel->name_len + 1;
	if (filter->types != NULL)
		channel->filter.types = memcpy(to, filter->types, feed_types_size(filter->types));
	to += feed_types_size(filter->types);
	if (filter->correlation != NULL)
		channel->filter.correlation = memcpy(to, filter->correlation, strlen(filter->correlation) + 1);
}

static size_t filter_size(const struct feed_filter *filter)
{
	return strlen(filter->name) + 1 + feed_types_size(filter->types) +
		   (filter->correlation != NULL ? strlen(filter->correlation) + 1 : 0);
}

static void enter_table(struct feed_channel *channel)
{
	struct channel_table *table = &channel->feed->feeds->channels;
	struct feed_channel **to;

	if (table->nchannels >= table->nbuckets)
		grow(table);
	to = bucket(table, channel->hash);
	channel->next = *to;
	*to = channel;
	table->nchannels++;
	channel->feed->nchannels[channel->filter.source]++;
}

static struct feed_channel *channel_new(struct feed *feed, const struct feed_filter *filter, uint32_t hash)
{
	struct channel_table *table = &feed->feeds->channels;
	struct feed_channel *channel = calloc(1, sizeof(*channel) + filter_size(filter));
	bool ok;

	if (table->buckets == NULL)
	{
		table->buckets = calloc(MIN_BUCKETS, sizeof(struct feed_channel *));
		table->nbuckets = table->buckets != NULL ? MIN_BUCKETS : 0;
	}
	ok = channel != NULL && table->buckets != NULL;
	if (ok && filter->source == FEED_QUERY)
		ok = (channel->query = feed_query_take(feed, hash, slice_of(filter->name))) != NULL;
	if (!ok)
	{
		free(channel);
		return NULL;
	}
	channel->feed = feed;
	channel->hash = hash;
	TAILQ_INIT(&channel->following);
	keep_filter(channel, filter);
	enter_table(channel);
	return channel;
}

static void dispose_unused(struct feed_channel *channel)
{
	struct channel_table *table = &channel->feed->feeds->channels;
	struct feed_channel **link = bucket(table, channel->hash);

	if (!TAILQ_EMPTY(&channel->following) || channel->touched)
		return;
	while (*link != channel)
		link = &(*link)->next;
	*link = channel->next;
	table->nchannels--;
	channel->feed->nchannels[channel->filter.source]--;
	if (channel->query != NULL)
		feed_query_give_back(channel->feed, channel->query);
	free(channel);
}

bool channel_join(struct listener *listener)
{
	struct feed *feed = listener->feed;
	const struct feed_filter *filter = &listener->filter;
	struct slice name = slice_of(filter->name);
	uint32_t hash = key_hash(feed, filter->source, name);
	struct channel_table *table = &feed->feeds->channels;
	struct feed_channel *channel = table->buckets != NULL ? *bucket(table, hash) : NULL;

	while (channel != NULL &&
		   !(is_keyed(channel, feed, filter->source, hash, name) && has_form(channel, filter)))
		channel = channel->next;
	if (channel == NULL)
		channel = channel_new(feed, filter, hash);
	if (channel == NULL)
		return false;
	listener->channel = channel;
	listener_enter(listener, LISTENER_FOLLOWING, &channel->following);
	feed->nwhole += feed_wants_whole(filter);
	return true;
}

void channel_leave(struct listener *listener, enum listener_place place)
{
	struct feed_channel *channel = listener->channel;

	listener->feed->nwhole -= feed_wants_whole(&listener->filter);
	listener_move(listener, place);
	listener->channel = NULL;
	dispose_unused(channel);
}

struct listener *channel_any_follower(const struct feed *feed)
{
	const struct channel_table *table = &feed->feeds->channels;

	for (unsigned i = 0; i < table->nbuckets; i++)
	{
		for (struct feed_channel *channel = table->buckets[i]; channel != NULL; channel = channel->next)
		{
			if (channel->feed == feed && !TAILQ_EMPTY(&channel->following))
				return TAILQ_FIRST(&channel->following);
		}
	}
	return NULL;
}

/* ---- a page ------------------------------------------------------------------------ */

/* As reads have it; a stream without an id has none, and is in no member's share. */
static void read_group_hash(struct row *row, struct db_optional hash)
{
	row->has_group_hash = hash.is_set;
	/* abs() of the smallest 64-bit integer does not fit one, but fits this. */
	row->group_hash = hash.value < 0 ? 0 - (uint64_t)hash.value : (uint64_t)hash.value;
}

static struct row read_row(const struct db_reply *reply, int number, bool whole)
{
	const struct db_feed_row said = db_feed_row(reply, number, whole);
	struct row row = {
		.stream = said.stream,
		.id = said.global_text,
		.poke = said.poke,
		.message = said.message,
		.matches = said.matches,
		.category = name_category(said.stream),
		.position = said.position,
		.global_position = said.global_position,
	};

	read_group_hash(&row, said.group_hash);
	return row;
}

static bool is_members(struct row *row, const struct feed_filter *filter)
{
	if (filter->size == 0)
		return true;
	return row->has_group_hash && row->group_hash % (uint64_t)filter->size == (uint64_t)filter->member;
}

static bool reserve_event(struct feed_channel *channel)
{
	unsigned capacity = channel->capacity == 0 ? 16 : channel->capacity * 2;
	struct feed_event *events;

	if (channel->nevents < channel->capacity)
		return true;
	events = realloc(channel->events, capacity * sizeof(*events));
	if (events == NULL)
		return false;
	channel->events = events;
	channel->capacity = capacity;
	return true;
}

static struct slice data_of(const struct feed_channel *channel, const struct row *row)
{
	struct buf *made = &row->content->event;
	struct cloudevent event;

	if (!channel->filter.cloudevents)
		return channel->filter.messages ? row->message : row->poke;
	if (made->len == 0)
	{
		event = cloudevent_of_message(row->message);
		cloudevent_write(made, channel->feed->name, &event);
	}
	return (struct slice){made->data, made->len};
}

static void add_event(struct feed_channel *channel, const struct row *row)
{
	const struct feed_filter *filter = &channel->filter;
	const struct sse_event event = {
		.id = filter->ids ? row->id : (struct slice){NULL, 0},
		.name = filter->messages ? SSE_MESSAGE : SSE_POKE,
		.data = data_of(channel, row),
	};

	if (!reserve_event(channel) || row->content->event.failed)
		channel->text.failed = true;
	sse_add_event(&channel->text, &event, filter->chunked);
	if (channel->text.failed)
		return;
	channel->events[channel->nevents++] = (struct feed_event){
		.end = channel->text.len, .position = row->position, .global_position = row->global_position};
}

/* Adds the message to the channels of a key, and the touched ones of these to the list. */
static void add_keyed(struct feed *feed, enum feed_source source, struct slice name, uint32_t hash,
					  struct row *row, struct feed_channel **touched)
{
	for (struct feed_channel *channel = *bucket(&feed->feeds->channels, hash); channel != NULL;
		 channel = channel->next)
	{
		if (!is_keyed(channel, feed, source, hash, name) || !is_members(row, &channel->filter) ||
			!feed_passes(&channel->filter, row->message, row->content))
			continue;
		if (!channel->touched)
		{
			channel->touched = true;
			channel->next_touched = *touched;
			*touched = channel;
		}
		if (row->content->text.failed)
			channel->text.failed = true;
		add_event(channel, row);
	}
}

/* The same of one source and name. */
static void add_row(struct feed *feed, enum feed_source source, struct slice name, struct row *row,
					struct feed_channel **touched)
{
	if (feed->nchannels[source] > 0)
		add_keyed(feed, source, name, key_hash(feed, source, name), row, touched);
}

/* The same of the queries that it matches. */
static void add_matches(struct feed *feed, struct row *row, struct feed_channel **touched)
{
	struct slice matches = row->matches;
	const struct feed_query *query;

	while ((query = feed_queries_next(feed, &matches)) != NULL)
		add_keyed(feed, FEED_QUERY, (struct slice){query->text, query->len}, query->hash, row, touched);
}

static bool is_wanted(const struct listener *listener, const struct feed_event *event)
{
	if (event->global_position < listener->complete_below)
		return false;
	if (listener->filter.source != FEED_STREAM)
		return event->global_position >= listener->next;
	return event->position >= listener->first &&
		   (event->global_position >= listener->told_below || event->position >= listener->next);
}

/* The first event of the page that is new to the listener. */
static unsigned first_wanted(const struct feed_channel *channel, const struct listener *listener)
{
	unsigned at = 0;

	while (at < channel->nevents && !is_wanted(listener, &channel->events[at]))
		at++;
	return at;
}

static void deliver(struct feed_channel *channel, struct listener *listener)
{
	const struct feed_page page = {channel->text.data, channel->events, channel->nevents};
	unsigned first = first_wanted(channel, listener);
	unsigned taken = 0;

	if (first < channel->nevents)
		taken = listener->user->deliver(listener, &page, first);
	if (taken > 0)
	{
		const struct feed_event *last = &channel->events[first + taken - 1];

		/* Behind a stream's last position there is none. */
		listener->next = listener->filter.source != FEED_STREAM ? last->global_position + 1
						 : last->position < INT64_MAX			? last->position + 1
																: INT64_MAX;
		listener->complete_below = last->global_position + 1;
	}
	if (first + taken < channel->nevents)
		channel_leave(listener, LISTENER_ASIDE);
}

/* What could not be written is not handed out: the listeners read it themselves. */
static void turn_away(struct feed_channel *channel)
{
	struct listener *next;

	log_warning("out of memory for the live messages of a namespace; they are read again");
	for (struct listener *listener = TAILQ_FIRST(&channel->following); listener != NULL; listener = next)
	{
		next = TAILQ_NEXT(listener, link);
		channel_leave(listener, LISTENER_WAITING);
	}
}

static void finish_page(struct feed_channel *channel)
{
	struct listener *next;

	if (channel->text.failed)
		turn_away(channel);
	for (struct listener *listener = TAILQ_FIRST(&channel->following); listener != NULL; listener = next)
	{
		next = TAILQ_NEXT(listener, link);
		deliver(channel, listener);
	}
	buf_free(&channel->text);
	free(channel->events);
	channel->events = NULL;
	channel->nevents = channel->capacity = 0;
	channel->touched = false;
	dispose_unused(channel);
}

void channel_dispatch(struct feed *feed, const struct db_reply *reply)
{
	static const struct slice all = {"", 0};
	struct feed_channel *touched = NULL;
	struct feed_channel *channel;
	struct feed_content content = {.read = false};

	for (int i = 0, rows = db_feed_rows(reply); i < rows; i++)
	{
		struct row row = read_row(reply, i, feed->asked_whole);

		row.content = &content;
		content.read = false;
		buf_clear(&content.event);
		add_row(feed, FEED_ALL, all, &row, &touched);
		add_row(feed, FEED_CATEGORY, row.category, &row, &touched);
		add_row(feed, FEED_STREAM, row.stream, &row, &touched);
		add_matches(feed, &row, &touched);
	}
	buf_free(&content.text);
	buf_free(&content.event);
	while ((channel = touched) != NULL)
	{
		touched = channel->next_touched;
		finish_page(channel);
	}
}

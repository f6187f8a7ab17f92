/*
 * listeners.c: the listeners of a feed are put elsewhere, let go on, and ended; see feed_internal.h.
 */
#include "live/feed_internal.h"

void listeners_put(struct listener *listener, enum listener_place place)
{
	if (listener->place == LISTENER_FOLLOWING)
		channel_leave(listener, place);
	else
		listener_move(listener, place);
}

void listeners_release(struct feed *feed, unsigned most)
{
	struct listener *last = TAILQ_LAST(&feed->waiting, listener_list);
	struct listener *listener;

	while (most-- > 0 && (listener = TAILQ_FIRST(&feed->waiting)) != NULL)
	{
		bool was_last = listener == last;

		listener_move(listener, LISTENER_ASIDE);
		listener->user->go_on(listener);
		if (was_last)
			break;
	}
}

static void restart_each(struct listener_list *list)
{
	struct listener *listener, *next;

	for (listener = TAILQ_FIRST(list); listener != NULL; listener = next)
	{
		next = TAILQ_NEXT(listener, link);
		listener->user->restart(listener);
	}
}

void listeners_restart(struct feed *feed)
{
	struct listener *listener;

	while ((listener = TAILQ_FIRST(&feed->joining)) != NULL ||
		   (listener = channel_any_follower(feed)) != NULL)
		listeners_put(listener, LISTENER_WAITING);
	restart_each(&feed->waiting);
	restart_each(&feed->aside);
}

void listeners_let_go(struct listener *listener)
{
	listeners_put(listener, LISTENER_DETACHED);
	feed_token_leave(listener);
	listener->feed->nlisteners--;
}

void listeners_end(struct feed *feed, const char *hashes)
{
	struct listener *listener;

	while ((listener = feed_tokens_find(feed, hashes)) != NULL)
	{
		listeners_let_go(listener);
		listener->user->end(listener);
	}
}

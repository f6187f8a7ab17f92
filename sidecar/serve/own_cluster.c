/*
 * own_cluster.c: see own_cluster.h.
 */
#include "serve/own_cluster.h"

#include <event2/event.h>
#include <unistd.h>

#include "base/log.h"
#include "places/directory.h"

static void on_changed(evutil_socket_t fd, short what, void *arg)
{
	struct own_cluster *own = arg;
	struct buf error = {0};
	enum directory_own known = directory_own(own->directory, &error);
	uint64_t count;

	(void)what;
	if (known == DIRECTORY_OWN_RIGHT)
		event_del(own->changed);
	else if (known == DIRECTORY_OWN_WRONG)
	{
		log_error("%.*s", (int)error.len, error.data);
		own->wrong = true;
		event_base_loopbreak(own->base);
	}
	if (read(fd, &count, sizeof(count)) < 0)
		log_bug("could not read what the directory tells the main thread");
	buf_free(&error);
}

static bool watch(struct own_cluster *own, struct buf *error)
{
	int fd;

	if (directory_bell(own->directory, &fd) >= 0)
		own->changed = event_new(own->base, fd, EV_READ | EV_PERSIST, on_changed, own);
	if (own->changed != NULL && event_add(own->changed, NULL) == 0)
		return true;
	buf_add_str(error, "out of memory or descriptors");
	return false;
}

bool own_cluster_check(struct own_cluster *own, struct event_base *base, struct directory *directory,
					   bool (*stopping)(void), struct buf *error)
{
	*own = (struct own_cluster){.directory = directory, .base = base};
	return directory_await_own(directory, stopping, error) != DIRECTORY_OWN_WRONG && watch(own, error);
}

bool own_cluster_check_again(struct own_cluster *own, bool (*stopping)(void), struct buf *error)
{
	enum directory_own known = DIRECTORY_OWN_RIGHT;

	if (own->directory != NULL)
		known = directory_own(own->directory, error);
	if (known == DIRECTORY_OWN_AWAY)
		known = directory_await_own(own->directory, stopping, error);
	return known != DIRECTORY_OWN_WRONG;
}

void own_cluster_free(struct own_cluster *own)
{
	if (own->changed != NULL)
		event_free(own->changed);
	own->changed = NULL;
}

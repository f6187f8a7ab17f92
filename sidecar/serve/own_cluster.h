/*
 * own_cluster.h: a server with a directory of clusters ends where --cluster names another one than --database
 * leads to (places/directory_own.c): the namespaces that it made would be looked for elsewhere by all others.
 */
#ifndef MILLRACE_OWN_CLUSTER_H
#define MILLRACE_OWN_CLUSTER_H

#include <stdbool.h>

#include "base/buf.h"

struct directory;
struct event;
struct event_base;

/* All zero without a directory. */
struct own_cluster
{
	struct directory *directory;
	struct event_base *base;
	struct event *changed;
	bool wrong; /* why the event loop was ended */
};

/*
 * Looks, before anything is written, and from then on whenever the directory has changed, as long as that
 * can't be known.  False: it is wrong, or out of memory; *error says so.
 */
bool own_cluster_check(struct own_cluster *own, struct event_base *base, struct directory *directory,
					   bool (*stopping)(void), struct buf *error);
/* Looks again where --database was away, and has answered meanwhile. */
bool own_cluster_check_again(struct own_cluster *own, bool (*stopping)(void), struct buf *error);
/* Before the directory is closed. */
void own_cluster_free(struct own_cluster *own);

#endif

/*
 * directory: at which cluster each namespace is, and how clusters are reached: a copy of what a database says
 * of that (extension/README.md, "Several clusters").
 *
 *     directory.c       the copy
 *     directory_open.c  it is opened and closed
 *     directory_ask.c   the thread that asks the database, each second and when it is told to
 *     directory_file.c  the copy in a file, with which a server starts while the database is away
 *     directory_own.c   whether the server's own cluster is the one that it is said to be
 *
 * One for the process; all threads use it.  Each entry has an epoch, which a move raises.  What a store says
 * of its own namespace, and what the database says, is taken where its epoch is not below the one that is
 * known: so neither a database that was restored from a backup nor one that is slow leads back to where a
 * namespace was.  What the database said last is kept beside it, and counts where the stores say that the
 * other is wrong (directory_yield).
 */
#ifndef MILLRACE_DIRECTORY_H
#define MILLRACE_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/errors.h"
#include "base/slice.h"

#include "extension/protocol.h"

#define DIRECTORY_MAX_CLUSTERS 64
#define DIRECTORY_OWN 0 /* the number of the cluster that is --database */

struct config;
struct directory;

/*
 * Reads the file, asks the database for the first time, and starts the thread.  Where the database is away
 * the file must do; without one it is waited for as long as --retry-window.  NULL: *error says why.
 */
struct directory *directory_open(const struct config *config, bool (*stopping)(void), struct buf *error);
/* Nothing uses it any more; NULL is allowed. */
void directory_close(struct directory *directory);

/* Whether --database is the cluster that the directory has by the name of --cluster. */
enum directory_own
{
	DIRECTORY_OWN_AWAY,	   /* --database can't be asked */
	DIRECTORY_OWN_UNKNOWN, /* the other can't be */
	DIRECTORY_OWN_COPIED,  /* one seems to be a copy of the other, which a failover does for a moment */
	DIRECTORY_OWN_RIGHT,   /* for good, as is the next */
	DIRECTORY_OWN_WRONG,
};

/*
 * From any thread: what is known of that; of DIRECTORY_OWN_WRONG *error says what each is.  The second looks
 * now, and waits.
 */
enum directory_own directory_own(struct directory *directory, struct buf *error);
enum directory_own directory_await_own(struct directory *directory, bool (*stopping)(void),
									   struct buf *error);

/* ---- looking up, from any thread ------------------------------------------------------------------- */

struct placement
{
	bool known;		  /* there is an entry: else it is the server's own cluster's */
	unsigned cluster; /* the number, which stays */
	int64_t epoch;	  /* 0: there is no entry */
};

void directory_find(struct directory *directory, const char *namespace_name, struct placement *placement);

/* So many have a number. */
unsigned directory_clusters(struct directory *directory);
/* Its name, which stays; NULL: none has that number. */
const char *directory_cluster_name(struct directory *directory, unsigned cluster);
/* Adds how it is reached, with a NUL.  Returns the number of that version; 0: none has that number. */
unsigned directory_conninfo(struct directory *directory, unsigned cluster, struct buf *conninfo);
unsigned directory_conninfo_version(struct directory *directory, unsigned cluster);

/* Calls back for each entry, in no order, while the directory waits. */
void directory_walk(struct directory *directory,
					void (*visit)(void *arg, const char *namespace_name, unsigned cluster), void *arg);

struct directory_status
{
	bool reachable;
	uint64_t age_ms; /* since the database answered */
	size_t namespaces;
};

void directory_describe(struct directory *directory, struct directory_status *status);

/* ---- what stores say ----------------------------------------------------------------------------------- */

/* A store says that a namespace has moved.  False: that is not news, or no cluster of that name is known. */
bool directory_learn(struct directory *directory, const char *namespace_name, const char *cluster,
					 int64_t epoch);
/*
 * The store that is known to have a namespace has it not, or an older one: what the database said last counts
 * again.  False: that is the same.
 */
bool directory_yield(struct directory *directory, const char *namespace_name);

/* ---- asking, from any thread --------------------------------------------------------------- */

/* Has the database asked at once; returns which answer will know what it has by now... */
uint64_t directory_refresh(struct directory *directory);
/* ...and how many there were. */
uint64_t directory_answers(struct directory *directory);

/* A change, which the thread makes.  The asker's, again when it is done. */
struct directory_task
{
	struct directory_task *next;
	bool removes; /* the entry: else it is made, or is there already for this cluster */
	char namespace_name[MAX_NAMESPACE_NAME + 1];
	char cluster[MAX_CLUSTER_NAME + 1];
	unsigned bell;		/* of who asks */
	struct error error; /* how it ended */
	void (*done)(struct directory_task *task);
};

/*
 * A bell rings when entries or clusters have changed, an answer came, or a task was done.  Returns its number
 * and sets *fd, an eventfd, which is the directory's; -1: there is none left.
 */
int directory_bell(struct directory *directory, int *fd);
void directory_change(struct directory *directory, struct directory_task *task);
/* Tasks of that bell that are done, by `next`. */
struct directory_task *directory_done(struct directory *directory, unsigned bell);

#endif

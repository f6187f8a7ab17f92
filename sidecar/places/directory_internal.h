/*
 * directory_internal: what the files of the directory share; only they include it.
 */
#ifndef MILLRACE_DIRECTORY_INTERNAL_H
#define MILLRACE_DIRECTORY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "db/session.h"
#include "places/directory.h"

#define DIRECTORY_BUCKETS 1024
#define DIRECTORY_BELLS 256

struct directory_place
{
	unsigned cluster;
	int64_t epoch;
};

struct directory_entry
{
	struct directory_entry *next; /* of its bucket */
	struct directory_place at;	  /* what is known */
	struct directory_place told;  /* what the database said last; epoch 0: nothing */
	uint64_t answer;			  /* the last one that it was in */
	char name[];
};

struct directory_cluster
{
	char *name, *conninfo; /* the second NULL: nobody said */
	unsigned version;	   /* of the conninfo */
};

struct directory
{
	const char *conninfo, *file; /* the second NULL: none */
	const char *database;		 /* the server's own cluster */
	pthread_rwlock_t lock;		 /* guards, down to the next remark: */
	struct directory_entry *buckets[DIRECTORY_BUCKETS];
	size_t nentries;
	struct directory_cluster clusters[DIRECTORY_MAX_CLUSTERS];
	unsigned nclusters;
	bool changed; /* what the file has */
	bool reachable;
	uint64_t answered_ms;
	/* The thread's: */
	struct session session;
	int64_t change;		 /* the last one that it was told of in this session; 0: none */
	bool lost, full;	 /* which is logged */
	bool has_own;		 /* the database knows the server's own cluster */
	unsigned own_copies; /* how often in a row it was found to be a copy */
	bool own_told;		 /* that it can't be asked */
	uint64_t own_looked_ms, own_pause_ms;
	struct buf own_error; /* set before DIRECTORY_OWN_WRONG is, and then left alone */
	bool started;
	pthread_t thread;
	/* Of all threads: */
	_Atomic bool closing;
	_Atomic enum directory_own own;
	_Atomic bool own_wanted;				/* a look at once */
	_Atomic uint64_t own_looks, own_looked; /* looks that were begun, and the last that ended */
	_Atomic uint64_t asked, answered;		/* answers that were begun, and that were taken */
	int wake_fd;
	pthread_mutex_t tasks_lock; /* guards the lists: */
	struct directory_task *tasks, *done[DIRECTORY_BELLS];
	int bells[DIRECTORY_BELLS];
	_Atomic unsigned nbells;
};

/* ---- directory.c; the lock is held for writing ------------------------------------------------------ */

/* Frees entries and clusters. */
void directory_empty(struct directory *directory);
/* The number of a cluster, which is made where there is none; -1: there are too many, or out of memory. */
int directory_add_cluster(struct directory *directory, const char *name);
/* False: out of memory. */
bool directory_set_conninfo(struct directory *directory, unsigned cluster, const char *conninfo);
/* What the database, or the file (answer 0), says of a namespace. */
void directory_take(struct directory *directory, const char *namespace_name, struct directory_place told,
					uint64_t answer);
/* It says that there is no such namespace. */
void directory_drop(struct directory *directory, const char *namespace_name);
/* Forgets what the database said of entries that were not in its answer. */
void directory_forget(struct directory *directory, uint64_t answer);

/* ---- directory_ask.c -------------------------------------------------------------------------------- */

bool directory_ask_first(struct directory *directory, uint64_t wait_ms, bool (*stopping)(void),
						 struct buf *error);
bool directory_start(struct directory *directory);
void directory_stop(struct directory *directory);

/* ---- directory_own.c -------------------------------------------------------------------------------- */

/* Looks, where that is due. */
void directory_look_at_own(struct directory *directory, bool (*stopping)(void));

/* ---- directory_file.c ------------------------------------------------------------------------------- */

enum directory_read
{
	DIRECTORY_READ,
	DIRECTORY_NO_FILE,
	DIRECTORY_BAD_FILE, /* *error says why */
};

/* Before there are threads. */
enum directory_read directory_file_read(struct directory *directory, struct buf *error);
/* Replaces the file by one with what is known now; logs where it can't. */
void directory_file_write(struct directory *directory);

#endif

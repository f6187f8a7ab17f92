/*
 * embedded_dir: the data directory of the private PostgreSQL: its owner, its lock, its folders.
 */
#ifndef MILLRACE_EMBEDDED_DIR_H
#define MILLRACE_EMBEDDED_DIR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"

#define EMBEDDED_LOCK "millrace.lock"
#define EMBEDDED_TEMPORARY "millrace-test-XXXXXX" /* as mkdtemp takes it */
#define EMBEDDED_SOCKETS "millrace-run-XXXXXX"

struct embedded_dir
{
	char path[PATH_MAX]; /* absolute */
	char cluster[PATH_MAX + 16];
	char sockets[PATH_MAX + 16];
	bool temporary, temporary_sockets;
	int lock; /* descriptor that holds the lock; -1 = none */

	/* The user that runs Postgres; `drop`: we are root, as which it refuses to run, and must become it. */
	bool drop;
	uid_t uid;
	gid_t gid;
	char user[64];
};

/* Finds or makes the directory and locks it; on false *error says why and nothing is held. */
bool embedded_dir_open(struct embedded_dir *dir, const char *path, bool temporary, struct buf *error);
/* Removes what is temporary, lets go of the lock. */
void embedded_dir_close(struct embedded_dir *dir);
bool embedded_dir_has_cluster(const struct embedded_dir *dir);
/* Opens a file for writing, or makes one that is owned by the user that runs Postgres; -1: errno. */
int embedded_dir_create(const struct embedded_dir *dir, const char *path, int flags);
/* Removes a folder and all that is in it, as far as it can. */
void embedded_dir_remove_tree(const char *path);
/* Becomes the user that runs Postgres, in a forked child; async-signal-safe; false: errno. */
bool embedded_dir_become_user(const struct embedded_dir *dir);

#endif

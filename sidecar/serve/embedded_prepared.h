/*
 * embedded_prepared: the cluster that is kept to begin others with: where it is, and whether it fits.
 */
#ifndef MILLRACE_EMBEDDED_PREPARED_H
#define MILLRACE_EMBEDDED_PREPARED_H

#include "serve/embedded_archive.h"
#include "serve/embedded_identity.h"
#include "serve/embedded_internal.h"

#define PREPARED_NAME "cluster-"
#define PREPARED_CONTROL "global/pg_control"
#define PREPARED_NAME_LEN (sizeof(PREPARED_NAME) - 1 + 16)

/* Finds or makes the folder; embedded->cache is empty where there is none. */
void prepared_find_folder(struct embedded *embedded);
/* The name of the archive in it. */
void prepared_name(const struct embedded *embedded, char name[PREPARED_NAME_LEN + 1]);

/* The others are for processes of the user that runs Postgres. */

/* Opens the folder; -1: it can not be used, and that is logged. */
int prepared_open_folder(const struct embedded *embedded);
/*
 * Writes the key: what a cluster that is made now is made with and of; `share` is where PostgreSQL keeps its
 * files.
 */
bool prepared_describe(const struct embedded *embedded, const char *share, struct buf *key);
/*
 * Reads the archive if there is a good one that fits; a damaged one is removed.  To be freed whatever it
 * returns.
 */
bool prepared_read(const struct embedded *embedded, int folder, struct archive *archive);
/* Where its identity is; false: it is not where we know it to be. */
bool prepared_identity(const struct archive *archive, struct identity *identity);

#endif

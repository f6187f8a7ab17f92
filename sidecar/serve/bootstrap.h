/*
 * bootstrap: what must be in a database before workers use it: the extension in a version
 * that fits, and namespace default with a token.  Blocking; main thread, once at start.
 */
#ifndef MILLRACE_BOOTSTRAP_H
#define MILLRACE_BOOTSTRAP_H

#include <stdbool.h>

#include "base/buf.h"
#include "access/token.h"

struct config;

struct bootstrap
{
	char server_version[32]; /* "15.20" */
	bool away;				 /* with a directory: the server could not be reached, and nothing was prepared */
	bool pooled;			 /* the database is behind a transaction pooler */
	char token[TOKEN_MAX_LEN + 1]; /* a token that was generated and handed over now; else empty */
};

/*
 * `own`: the database is our private one, so an older extension is updated without asking.
 * `stopping` is asked while it waits for a server that is starting up.  False: *error says why.
 */
bool bootstrap_run(struct bootstrap *bootstrap, const struct config *config, const char *conninfo, bool own,
				   bool (*stopping)(void), struct buf *error);

#endif

/*
 * move: the command `millrace move`, which takes a namespace from one cluster to another.
 */
#ifndef MILLRACE_MOVE_H
#define MILLRACE_MOVE_H

struct config;

/* Returns an exit code, 0, 1 or, for a wrong connection string, 2, and has said on stderr what was wrong. */
int move_run(const struct config *config);

#endif

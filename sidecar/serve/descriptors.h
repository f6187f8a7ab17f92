/*
 * descriptors: how many files the process may have open.
 *
 * Every connection is one.  Those to Postgres must be had however many clients connect: so
 * the connections of clients are bounded by what is left.
 */
#ifndef MILLRACE_DESCRIPTORS_H
#define MILLRACE_DESCRIPTORS_H

#include "base/config.h"

/*
 * Raises the soft limit (RLIMIT_NOFILE) to what `nworkers` workers may need, as far as the hard limit allows,
 * and lowers config->max_connections to what fits.
 */
void descriptors_reserve(struct config *config, unsigned nworkers);

#endif

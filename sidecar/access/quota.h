/*
 * quota: how many requests and bytes a second a namespace may ask for, on this server, over all its workers.
 *
 * A quota is made for a namespace when it has limits, and stays until the end: its workers hold on to it.
 * Each limit is a point in time, up to which what was granted is paid for; a request moves it on by what it
 * costs.  It may be a second ahead of now, so that much may come at once.  No lock, and no timer.
 */
#ifndef MILLRACE_QUOTA_H
#define MILLRACE_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define QUOTA_BUCKETS 256

struct error;
struct quota;

/* Of all namespaces of the process.  All zero at first. */
struct quotas
{
	_Atomic(struct quota *) buckets[QUOTA_BUCKETS];
};

/* When no worker is left. */
void quotas_free(struct quotas *quotas);
/* The quota of a namespace, made if there is none; NULL: out of memory. */
struct quota *quota_of(struct quotas *quotas, const char *namespace_name);
/* A second; 0: any number. */
void quota_set(struct quota *quota, uint64_t requests, uint64_t bytes);

/*
 * Asks for one request of so many bytes.  False: it is refused, and *error says of what there was too much
 * and in how many seconds, 1 or more, it might be granted.  One of more bytes than a second has is granted
 * when nothing is owed, and others then wait for it, a minute at most.
 */
bool quota_grants(struct quota *quota, uint64_t bytes, struct error *error);
/* Bytes of a result, which were not known when the request was granted. */
void quota_charge(struct quota *quota, uint64_t bytes);

#endif

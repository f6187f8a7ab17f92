/*
 * auth: which namespace a request may work in, and how much it may ask for.
 *
 * What Postgres said about a namespace's token and limits is believed for a second, or until a namespace
 * or a token changes here, which raises `generation`.  One per worker.
 */
#ifndef MILLRACE_AUTH_H
#define MILLRACE_AUTH_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/errors.h"
#include "base/slice.h"
#include "access/token.h"

struct auth;
struct db;
struct quota;
struct quotas;

struct auth *auth_new(struct db *db, struct quotas *quotas, const _Atomic unsigned long *generation,
					  bool test_mode);
/* Checks that wait for Postgres may still call back afterwards; the memory goes with the last of them. */
void auth_free(struct auth *auth);

/* The credentials of a request; both may be absent. */
struct credentials
{
	struct slice query;			/* of the URL: token=... wins */
	struct slice authorization; /* the header */
};

/* What credentials claim, before Postgres is asked. */
struct claim
{
	char name[MAX_NAMESPACE_NAME + 1]; /* of the namespace */
	char hash[TOKEN_HASH_LEN + 1];
};

/* False: there are no well-formed credentials, and *error says so. */
bool auth_read(struct auth *auth, const struct credentials *credentials, struct claim *claim,
			   struct error *error);

/* error->code is ERROR_NONE when the claim holds.  The namespace's quota, NULL: it has no limits. */
typedef void (*auth_done)(void *arg, const struct error *error, struct quota *quota);

/* Calls `done` once, perhaps at once. */
void auth_check(struct auth *auth, const struct claim *claim, auth_done done, void *arg);

#endif

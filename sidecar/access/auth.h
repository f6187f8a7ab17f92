/*
 * auth: which namespace a request may work in, where that is, what it may do there, and how much it may ask
 * for.
 *
 * What Postgres said about a token and its namespace is believed for a second, but not beyond the token's
 * end, or until a namespace or a token changes here, which raises `generation`, or until a connection to that
 * Postgres was lost and is back.  One per worker.
 */
#ifndef MILLRACE_AUTH_H
#define MILLRACE_AUTH_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/errors.h"
#include "base/rights.h"
#include "base/slice.h"
#include "access/token.h"

struct auth;
struct place;
struct places;
struct quota;
struct quotas;

struct auth *auth_new(struct places *places, struct quotas *quotas, const _Atomic unsigned long *generation,
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
	char hash[TOKEN_HASH_LEN + 1];	   /* in test mode empty, as no token is looked up */
};

/* What a claim that holds gives. */
struct grant
{
	struct place *place; /* where the namespace is */
	struct quota *quota; /* its own; NULL: it has no limits */
	unsigned rights;	 /* see base/rights.h */
};

/* False: there are no well-formed credentials, and *error says so. */
bool auth_read(struct auth *auth, const struct credentials *credentials, struct claim *claim,
			   struct error *error);

/* error->code is ERROR_NONE when the claim holds; else the grant has nothing. */
typedef void (*auth_done)(void *arg, const struct error *error, const struct grant *grant);

/* Calls `done` once, perhaps at once. */
void auth_check(struct auth *auth, const struct claim *claim, auth_done done, void *arg);

#endif

/*
 * auth.c: reads credentials and checks them against what Postgres knows.
 *
 * The cache is a table of fixed size in which a token has one place; another token that hashes to the same
 * place takes it over.  That bounds it, and a lost entry costs one look-up.  Only what opens a namespace is
 * kept: any other token is looked up before it is refused, so that one made elsewhere a moment ago works at
 * once.  Requests with a token that is just being looked up wait for the same answer.
 */
#include "access/auth.h"

#include <stdint.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/queue.h>
#include <time.h>

#include "base/clock.h"
#include "db/calls.h"
#include "access/quota.h"
#include "places/places.h"

#include "base/url_query.h"

#define CACHE_PLACES 1024
#define LIFETIME_MS 1000
#define MAX_WAITED 3 /* times that a look-up goes on elsewhere */

/* What is known of a token. */
struct known
{
	struct claim claim; /* .name empty: nothing */
	struct grant grant;
	unsigned long generation;
	unsigned long returns; /* of the place's connections */
	int64_t epoch;		   /* of the namespace */
	uint64_t asked_ms, answered_ms;
	uint64_t expires_ms; /* 0: never */
};

struct waiter
{
	SLIST_ENTRY(waiter) link;
	auth_done done;
	void *arg;
};

/* A question that Postgres is working on. */
struct lookup
{
	struct place_wait wait; /* for the namespace, which is elsewhere; first: we cast */
	struct auth *auth;
	LIST_ENTRY(lookup) link;
	struct known known; /* filled in by the answer */
	uint64_t began_ms;
	unsigned waited; /* how often */
	SLIST_HEAD(waiter_list, waiter) waiters;
};

struct auth
{
	struct places *places;
	struct quotas *quotas;
	const _Atomic unsigned long *generation;
	bool test_mode;
	bool freed;
	LIST_HEAD(lookup_list, lookup) lookups;
	/* The last token seen, so that a client's token is hashed once and not for each request. */
	char last_token[TOKEN_MAX_LEN];
	size_t last_len;
	struct claim last_claim;
	struct known cache[CACHE_PLACES];
};

struct auth *auth_new(struct places *places, struct quotas *quotas, const _Atomic unsigned long *generation,
					  bool test_mode)
{
	struct auth *auth = calloc(1, sizeof(*auth));

	if (auth == NULL)
		return NULL;
	auth->places = places;
	auth->quotas = quotas;
	auth->generation = generation;
	auth->test_mode = test_mode;
	return auth;
}

void auth_free(struct auth *auth)
{
	auth->freed = true;
	if (LIST_EMPTY(&auth->lookups))
		free(auth);
}

/* ---- reading credentials --------------------------------------------------- */

/* Decodes percent and plus; what does not fit can't be a token, and is cut one byte beyond the longest. */
static size_t decode_query_value(struct slice value, char out[TOKEN_MAX_LEN + 1])
{
	size_t len = 0;

	while (value.len > 0 && len <= TOKEN_MAX_LEN)
		out[len++] = url_query_take(&value, true);
	return len;
}

/* The first non-empty token=... of a query. */
static struct slice find_query_token(struct slice query)
{
	const char *p = query.bytes;
	const char *end = query.bytes + query.len;

	while (p < end)
	{
		const char *stop = memchr(p, '&', (size_t)(end - p));

		if (stop == NULL)
			stop = end;
		if (stop - p > 6 && memcmp(p, "token=", 6) == 0)
			return (struct slice){p + 6, (size_t)(stop - p - 6)};
		p = stop < end ? stop + 1 : end;
	}
	return (struct slice){NULL, 0};
}

static struct slice find_bearer_token(struct slice authorization)
{
	struct slice token = {NULL, 0};

	if (authorization.len <= 7 || strncasecmp(authorization.bytes, "Bearer ", 7) != 0)
		return token;
	token = (struct slice){authorization.bytes + 7, authorization.len - 7};
	while (token.len > 0 && token.bytes[0] == ' ')
	{
		token.bytes++;
		token.len--;
	}
	return token;
}

/* The claim of a token; false when it is malformed. */
static bool read_token(struct auth *auth, struct slice token, struct claim *claim)
{
	if (token.len > 0 && token_equal(token, (struct slice){auth->last_token, auth->last_len}))
	{
		*claim = auth->last_claim;
		return true;
	}
	if (!token_parse(token, claim->name))
		return false;
	token_hash(token, claim->hash);
	memcpy(auth->last_token, token.bytes, token.len);
	auth->last_len = token.len;
	auth->last_claim = *claim;
	return true;
}

bool auth_read(struct auth *auth, const struct credentials *credentials, struct claim *claim,
			   struct error *error)
{
	char decoded[TOKEN_MAX_LEN + 1];
	struct slice token = find_query_token(credentials->query);

	if (token.len > 0)
		token = (struct slice){decoded, decode_query_value(token, decoded)};
	else
		token = find_bearer_token(credentials->authorization);
	if (token.len > 0 && read_token(auth, token, claim))
	{
		if (auth->test_mode)
			memset(claim->hash, 0, sizeof(claim->hash));
		return true;
	}
	if (auth->test_mode)
	{
		*claim = (struct claim){.name = DEFAULT_NAMESPACE};
		return true;
	}
	if (token.len == 0)
		error_set(error, ERROR_AUTH_REQUIRED, "a token is required: Authorization: Bearer <token>");
	else
		error_set(error, ERROR_AUTH_INVALID_TOKEN, "the token is malformed");
	return false;
}

/* ---- checking claims ------------------------------------------------------- */

static struct known *cache_place(struct auth *auth, const struct claim *claim)
{
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (const char *p = claim->name; *p != '\0'; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619U;
	for (unsigned i = 0; i < 8; i++) /* of a hash as good as all of it */
		hash = (hash ^ (unsigned char)claim->hash[i]) * 16777619U;
	return &auth->cache[hash % CACHE_PLACES];
}

static unsigned long generation_now(const struct auth *auth)
{
	return atomic_load(auth->generation);
}

static bool is_same_claim(const struct claim *a, const struct claim *b)
{
	return strcmp(a->name, b->name) == 0 && token_hash_equal(a->hash, b->hash);
}

/* Whether the namespace is still known to be where it was, in a database that is still the same. */
static bool is_placed(const struct auth *auth, const struct known *known)
{
	struct directory *directory = places_directory(auth->places);
	struct placement placement;

	if (known->returns != db_returns(known->grant.place->db))
		return false;
	if (directory == NULL)
		return true;
	directory_find(directory, known->claim.name, &placement);
	return placement.cluster == known->grant.place->cluster && placement.epoch <= known->epoch;
}

static bool is_fresh(const struct auth *auth, const struct known *known)
{
	uint64_t now = clock_ms();

	return known->generation == generation_now(auth) && !clock_passed(now, known->answered_ms, LIFETIME_MS) &&
		   (known->expires_ms == 0 || now < known->expires_ms) && is_placed(auth, known);
}

/* Takes the lookup off the list and answers all requests that wait for it. */
static void finish_lookup(struct lookup *lookup, const struct error *error)
{
	struct auth *auth = lookup->auth;
	struct waiter *waiter;

	LIST_REMOVE(lookup, link);
	while ((waiter = SLIST_FIRST(&lookup->waiters)) != NULL)
	{
		SLIST_REMOVE_HEAD(&lookup->waiters, link);
		waiter->done(waiter->arg, error, &lookup->known.grant);
		free(waiter);
	}
	free(lookup);
	if (auth->freed && LIST_EMPTY(&auth->lookups))
		free(auth);
}

static struct quota *read_quota(struct auth *auth, const char *name, const struct db_rights *rights)
{
	uint64_t requests = rights->requests_per_second;
	uint64_t bytes = rights->bytes_per_second;
	struct quota *quota = requests > 0 || bytes > 0 ? quota_of(auth->quotas, name) : NULL;

	if (quota != NULL)
		quota_set(quota, requests, bytes);
	return quota;
}

/* Administering namespace default is administering all of them. */
static unsigned rights_in(const struct claim *claim, unsigned rights)
{
	bool all = (rights & RIGHT_ADMINISTER) != 0 && strcmp(claim->name, DEFAULT_NAMESPACE) == 0;

	return all ? rights | RIGHT_ADMINISTRATOR : rights;
}

/* What opens the namespace goes into the cache; else *error says why it does not. */
static void take_answer(struct lookup *lookup, const struct db_rights *rights, struct error *error)
{
	struct auth *auth = lookup->auth;
	struct known *known = &lookup->known;

	if (!rights->exists)
		error_set(error, ERROR_AUTH_UNAUTHORIZED, "the token does not open a namespace");
	else if (rights->refusal[0] != '\0')
		error_set(error, ERROR_AUTH_INVALID_TOKEN, "%s", rights->refusal);
	else
	{
		known->grant.rights = rights_in(&known->claim, auth->test_mode ? RIGHTS_ALL : rights->rights);
		known->grant.quota = read_quota(auth, known->claim.name, rights);
		known->epoch = rights->place.epoch;
		known->answered_ms = clock_ms();
		/* Counted from before Postgres looked at its clock, so that it is never too long. */
		if (rights->expires_in_ms.is_set)
			known->expires_ms = known->asked_ms + (uint64_t)rights->expires_in_ms.value;
		*cache_place(auth, &known->claim) = *known;
	}
}

static bool ask(struct lookup *lookup);

/* Why a question could not be asked. */
static void explain_unasked(struct auth *auth, const struct claim *claim, struct error *error)
{
	if (places_of(auth->places, claim->name) != NULL)
		error_set(error, ERROR_OVERLOADED, "too many requests are waiting");
	else
		error_set(error, ERROR_BACKEND_UNAVAILABLE,
				  "the directory does not say how the cluster of namespace %s is reached", claim->name);
}

static void on_settled(struct place_wait *wait, const struct error *error)
{
	struct lookup *lookup = (struct lookup *)wait;
	struct error failure = *error;

	if (failure.code == ERROR_NONE && ask(lookup))
		return;
	if (failure.code == ERROR_NONE)
		explain_unasked(lookup->auth, &lookup->known.claim, &failure);
	else if (failure.code == ERROR_NAMESPACE_NOT_FOUND)
		error_set(&failure, ERROR_AUTH_UNAUTHORIZED, "the token does not open a namespace");
	lookup->known.grant = (struct grant){0};
	finish_lookup(lookup, &failure);
}

/* Where the namespace is elsewhere, finds out where and asks there.  False: it is here, or *error is set. */
static bool goes_elsewhere(struct lookup *lookup, const struct db_place *said, struct error *error)
{
	struct auth *auth = lookup->auth;
	struct known *known = &lookup->known;

	if ((places_directory(auth->places) == NULL && !said->exists) || lookup->waited == MAX_WAITED ||
		places_judge(auth->places, known->grant.place, known->claim.name, said) != PLACE_ELSEWHERE)
		return false;
	lookup->waited++;
	lookup->wait.done = on_settled;
	return places_wait(auth->places, known->claim.name, places_deadline(auth->places, lookup->began_ms),
					   &lookup->wait, error);
}

static void on_answer(void *arg, struct db_reply *reply)
{
	struct lookup *lookup = arg;
	struct error error = {.code = ERROR_NONE};

	if (reply->status == DB_OK)
	{
		const struct db_rights rights = db_rights_of(reply);

		if (goes_elsewhere(lookup, &rights.place, &error))
			return;
		if (error.code == ERROR_NONE)
			take_answer(lookup, &rights, &error);
	}
	else if (reply->status == DB_ERROR)
		error_from_sqlstate(&error, reply->error.sqlstate, reply->error.message, reply->error.hint,
							reply->error.pid);
	else if (reply->status == DB_OVERLOADED)
		error_set(&error, ERROR_OVERLOADED, "too many requests are waiting");
	else
		error_set(&error, ERROR_BACKEND_UNAVAILABLE, "%s", db_unavailable(lookup->known.grant.place->db));
	finish_lookup(lookup, &error);
}

static bool ask(struct lookup *lookup)
{
	struct auth *auth = lookup->auth;
	struct known *known = &lookup->known;
	const struct claim *claim = &known->claim;
	struct place *place = places_of(auth->places, claim->name);

	if (place == NULL)
		return false;
	known->grant.place = place;
	known->returns = db_returns(place->db);
	known->asked_ms = clock_ms();
	return auth->test_mode ? db_ensure_namespace(place->db, claim->name, on_answer, lookup)
						   : db_token_rights(place->db, claim->name, claim->hash, on_answer, lookup);
}

/* The lookup of the token that is under way and asks about the present, or a new one. */
static struct lookup *join_lookup(struct auth *auth, const struct claim *claim)
{
	struct lookup *lookup;

	for (lookup = LIST_FIRST(&auth->lookups); lookup != NULL; lookup = LIST_NEXT(lookup, link))
	{
		if (lookup->known.generation == generation_now(auth) && is_same_claim(&lookup->known.claim, claim))
			return lookup;
	}
	lookup = calloc(1, sizeof(*lookup));
	if (lookup == NULL)
		return NULL;
	lookup->auth = auth;
	lookup->known.generation = generation_now(auth);
	lookup->known.claim = *claim;
	lookup->began_ms = clock_ms();
	if (!ask(lookup))
	{
		free(lookup);
		return NULL;
	}
	LIST_INSERT_HEAD(&auth->lookups, lookup, link);
	return lookup;
}

void auth_check(struct auth *auth, const struct claim *claim, auth_done done, void *arg)
{
	static const struct error none = {.code = ERROR_NONE};
	static const struct grant nothing = {.rights = RIGHT_NONE};
	const struct known *known = cache_place(auth, claim);
	struct waiter *waiter;
	struct lookup *lookup;

	if (is_same_claim(&known->claim, claim) && is_fresh(auth, known))
	{
		done(arg, &none, &known->grant);
		return;
	}
	waiter = calloc(1, sizeof(*waiter));
	lookup = waiter != NULL ? join_lookup(auth, claim) : NULL;
	if (lookup == NULL)
	{
		struct error error;

		free(waiter);
		explain_unasked(auth, claim, &error);
		done(arg, &error, &nothing);
		return;
	}
	*waiter = (struct waiter){.done = done, .arg = arg};
	SLIST_INSERT_HEAD(&lookup->waiters, waiter, link);
}

/*
 * quota.c: grants and refuses (see quota.h).
 */
#include "access/quota.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/errors.h"

#define NS_PER_US UINT64_C(1000)
#define NS_PER_S UINT64_C(1000000000)
#define AHEAD NS_PER_S			 /* what may come at once */
#define MAX_DEBT (60 * NS_PER_S) /* bytes: what is owed beyond is forgiven */

struct quota
{
	struct quota *next; /* of its bucket */
	_Atomic uint64_t requests, bytes;
	_Atomic uint64_t requests_paid, bytes_paid; /* ns: up to when */
	char name[];
};

static _Atomic(struct quota *) *bucket_of(struct quotas *quotas, const char *name)
{
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (const char *p = name; *p != '\0'; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619U;
	return &quotas->buckets[hash % QUOTA_BUCKETS];
}

static struct quota *find(struct quota *quota, const char *name)
{
	while (quota != NULL && strcmp(quota->name, name) != 0)
		quota = quota->next;
	return quota;
}

struct quota *quota_of(struct quotas *quotas, const char *namespace_name)
{
	_Atomic(struct quota *) *bucket = bucket_of(quotas, namespace_name);
	struct quota *first = atomic_load(bucket);
	struct quota *found = find(first, namespace_name);
	struct quota *made;

	if (found != NULL)
		return found;
	made = calloc(1, sizeof(*made) + strlen(namespace_name) + 1);
	if (made == NULL)
		return NULL;
	memcpy(made->name, namespace_name, strlen(namespace_name) + 1);
	made->next = first;
	while (!atomic_compare_exchange_weak(bucket, &made->next, made))
	{
		/* Another worker was first; perhaps with the same name. */
		found = find(made->next, namespace_name);
		if (found == NULL)
			continue;
		free(made);
		return found;
	}
	return made;
}

void quotas_free(struct quotas *quotas)
{
	for (unsigned i = 0; i < QUOTA_BUCKETS; i++)
	{
		struct quota *quota, *next;

		for (quota = atomic_load(&quotas->buckets[i]); quota != NULL; quota = next)
		{
			next = quota->next;
			free(quota);
		}
		atomic_store(&quotas->buckets[i], NULL);
	}
}

void quota_set(struct quota *quota, uint64_t requests, uint64_t bytes)
{
	atomic_store(&quota->requests, requests);
	atomic_store(&quota->bytes, bytes);
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Whole seconds until `point` is reached, 1 or more. */
static unsigned seconds_until(uint64_t point, uint64_t now)
{
	unsigned seconds = (unsigned)((clock_span(now, point) + NS_PER_S - 1) / NS_PER_S);

	return seconds > 0 ? seconds : 1;
}

static bool take_request(struct quota *quota, uint64_t now, unsigned *wait)
{
	uint64_t rate = atomic_load(&quota->requests);
	uint64_t paid, next;

	if (rate == 0)
		return true;
	paid = atomic_load(&quota->requests_paid);
	do
	{
		next = later(paid, now) + NS_PER_S / rate;
		if (next > now + AHEAD)
		{
			*wait = seconds_until(next, now + AHEAD);
			return false;
		}
	} while (!atomic_compare_exchange_weak(&quota->requests_paid, &paid, next));
	return true;
}

/* Without an overflow: of bytes what fits the debt, of the rate at most MAX_BYTES_PER_SECOND. */
static uint64_t cost(uint64_t bytes, uint64_t rate)
{
	uint64_t seconds = bytes / rate;

	if (seconds >= MAX_DEBT / NS_PER_S)
		return MAX_DEBT;
	return seconds * NS_PER_S + bytes % rate * NS_PER_S / rate;
}

static void pay_bytes(struct quota *quota, uint64_t bytes, uint64_t now)
{
	uint64_t rate = atomic_load(&quota->bytes);
	uint64_t paid, next;

	if (rate == 0 || bytes == 0)
		return;
	paid = atomic_load(&quota->bytes_paid);
	do
	{
		next = later(paid, now) + cost(bytes, rate);
		if (next > now + MAX_DEBT)
			next = now + MAX_DEBT;
	} while (!atomic_compare_exchange_weak(&quota->bytes_paid, &paid, next));
}

static bool refuse(struct error *error, const char *what, unsigned wait)
{
	error_set(error, ERROR_RATE_LIMITED, "the namespace has had its limit of %s a second", what);
	error->retry_after = wait;
	snprintf(error->details, sizeof(error->details), "{\"retryAfter\":%u}", wait);
	return false;
}

bool quota_grants(struct quota *quota, uint64_t bytes, struct error *error)
{
	uint64_t now = clock_us() * NS_PER_US;
	uint64_t paid = atomic_load(&quota->bytes_paid);
	unsigned wait;

	if (atomic_load(&quota->bytes) > 0 && paid >= now + AHEAD)
		return refuse(error, "bytes", seconds_until(paid, now + AHEAD));
	if (!take_request(quota, now, &wait))
		return refuse(error, "requests", wait);
	pay_bytes(quota, bytes, now);
	return true;
}

void quota_charge(struct quota *quota, uint64_t bytes)
{
	pay_bytes(quota, bytes, clock_us() * NS_PER_US);
}

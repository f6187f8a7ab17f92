/*
 * directory.c: the copy itself (see directory.h): entries by their namespace, clusters by their number.
 *
 * Clusters are never taken away, so that a number stays good; entries are not either.  What was dropped from
 * the database is still looked for where it was: the store there knows.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "places/directory_internal.h"

/* ---- clusters ------------------------------------------------------------------------------ */

static int find_cluster(const struct directory *directory, const char *name)
{
	for (unsigned i = 0; i < directory->nclusters; i++)
	{
		if (strcmp(directory->clusters[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

int directory_add_cluster(struct directory *directory, const char *name)
{
	int found = find_cluster(directory, name);

	if (found >= 0)
		return found;
	if (directory->nclusters == DIRECTORY_MAX_CLUSTERS && !directory->full)
		log_warning("the directory has more than %d clusters: %s and others cannot be used",
					DIRECTORY_MAX_CLUSTERS, name);
	directory->full = directory->nclusters == DIRECTORY_MAX_CLUSTERS;
	if (directory->full)
		return -1;
	directory->clusters[directory->nclusters] = (struct directory_cluster){.name = strdup(name)};
	return directory->clusters[directory->nclusters].name != NULL ? (int)directory->nclusters++ : -1;
}

bool directory_set_conninfo(struct directory *directory, unsigned cluster, const char *conninfo)
{
	struct directory_cluster *at = &directory->clusters[cluster];
	char *copy;

	if (at->conninfo != NULL && strcmp(at->conninfo, conninfo) == 0)
		return true;
	copy = strdup(conninfo);
	if (copy == NULL)
		return false;
	free(at->conninfo);
	at->conninfo = copy;
	at->version++;
	directory->changed = true;
	return true;
}

unsigned directory_clusters(struct directory *directory)
{
	unsigned nclusters;

	pthread_rwlock_rdlock(&directory->lock);
	nclusters = directory->nclusters;
	pthread_rwlock_unlock(&directory->lock);
	return nclusters;
}

const char *directory_cluster_name(struct directory *directory, unsigned cluster)
{
	const char *name;

	pthread_rwlock_rdlock(&directory->lock);
	name = cluster < directory->nclusters ? directory->clusters[cluster].name : NULL;
	pthread_rwlock_unlock(&directory->lock);
	return name;
}

unsigned directory_conninfo(struct directory *directory, unsigned cluster, struct buf *conninfo)
{
	unsigned version = 0;

	pthread_rwlock_rdlock(&directory->lock);
	if (cluster < directory->nclusters && directory->clusters[cluster].conninfo != NULL)
	{
		const struct directory_cluster *at = &directory->clusters[cluster];

		buf_add(conninfo, at->conninfo, strlen(at->conninfo) + 1);
		version = at->version;
	}
	pthread_rwlock_unlock(&directory->lock);
	return version;
}

unsigned directory_conninfo_version(struct directory *directory, unsigned cluster)
{
	unsigned version;

	pthread_rwlock_rdlock(&directory->lock);
	version = cluster < directory->nclusters ? directory->clusters[cluster].version : 0;
	pthread_rwlock_unlock(&directory->lock);
	return version;
}

/* ---- entries ------------------------------------------------------------------------------- */

static struct directory_entry **bucket_of(struct directory *directory, const char *name)
{
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (const char *p = name; *p != '\0'; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619U;
	return &directory->buckets[hash % DIRECTORY_BUCKETS];
}

static struct directory_entry *find(struct directory *directory, const char *name)
{
	struct directory_entry *entry = *bucket_of(directory, name);

	while (entry != NULL && strcmp(entry->name, name) != 0)
		entry = entry->next;
	return entry;
}

static struct directory_entry *add(struct directory *directory, const char *name)
{
	struct directory_entry **bucket = bucket_of(directory, name);
	struct directory_entry *entry = calloc(1, sizeof(*entry) + strlen(name) + 1);

	if (entry == NULL)
		return NULL;
	memcpy(entry->name, name, strlen(name) + 1);
	entry->next = *bucket;
	*bucket = entry;
	directory->nentries++;
	return entry;
}

static bool is_same(struct directory_place a, struct directory_place b)
{
	return a.cluster == b.cluster && a.epoch == b.epoch;
}

void directory_take(struct directory *directory, const char *name, struct directory_place told,
					uint64_t answer)
{
	struct directory_entry *entry = find(directory, name);
	struct directory_place before;

	if (entry == NULL)
		entry = add(directory, name);
	if (entry == NULL)
		return;
	before = entry->at;
	entry->answer = answer;
	/* Of what it had forgotten it may know a new one, which begins anew. */
	if (told.epoch >= entry->at.epoch || (entry->told.epoch == 0 && answer > 0))
		entry->at = told;
	entry->told = told;
	directory->changed = directory->changed || !is_same(before, entry->at);
}

void directory_drop(struct directory *directory, const char *name)
{
	struct directory_entry *entry = find(directory, name);

	if (entry != NULL)
		entry->told.epoch = 0;
}

void directory_forget(struct directory *directory, uint64_t answer)
{
	for (unsigned i = 0; i < DIRECTORY_BUCKETS; i++)
	{
		for (struct directory_entry *entry = directory->buckets[i]; entry != NULL; entry = entry->next)
		{
			if (entry->answer != answer)
				entry->told.epoch = 0;
		}
	}
}

void directory_find(struct directory *directory, const char *name, struct placement *placement)
{
	const struct directory_entry *entry;

	*placement = (struct placement){.cluster = DIRECTORY_OWN};
	pthread_rwlock_rdlock(&directory->lock);
	entry = find(directory, name);
	if (entry != NULL)
		*placement = (struct placement){true, entry->at.cluster, entry->at.epoch};
	pthread_rwlock_unlock(&directory->lock);
}

void directory_walk(struct directory *directory,
					void (*visit)(void *arg, const char *namespace_name, unsigned cluster), void *arg)
{
	pthread_rwlock_rdlock(&directory->lock);
	for (unsigned i = 0; i < DIRECTORY_BUCKETS; i++)
	{
		for (const struct directory_entry *entry = directory->buckets[i]; entry != NULL; entry = entry->next)
		{
			if (entry->told.epoch > 0)
				visit(arg, entry->name, entry->at.cluster);
		}
	}
	pthread_rwlock_unlock(&directory->lock);
}

void directory_describe(struct directory *directory, struct directory_status *status)
{
	pthread_rwlock_rdlock(&directory->lock);
	*status = (struct directory_status){.reachable = directory->reachable,
										.age_ms = clock_span(directory->answered_ms, clock_ms()),
										.namespaces = directory->nentries};
	pthread_rwlock_unlock(&directory->lock);
}

/* ---- what stores say ----------------------------------------------------------------------- */

bool directory_learn(struct directory *directory, const char *name, const char *cluster, int64_t epoch)
{
	struct directory_entry *entry;
	bool news = false;
	int number;

	pthread_rwlock_wrlock(&directory->lock);
	number = find_cluster(directory, cluster);
	entry = find(directory, name);
	if (entry == NULL && number >= 0)
		entry = add(directory, name);
	if (number >= 0 && entry != NULL && epoch > entry->at.epoch)
	{
		entry->at = (struct directory_place){(unsigned)number, epoch};
		directory->changed = news = true;
	}
	pthread_rwlock_unlock(&directory->lock);
	return news;
}

bool directory_yield(struct directory *directory, const char *name)
{
	struct directory_entry *entry;
	bool news;

	pthread_rwlock_wrlock(&directory->lock);
	entry = find(directory, name);
	news = entry != NULL && entry->told.epoch > 0 && !is_same(entry->at, entry->told);
	if (news)
	{
		entry->at = entry->told;
		directory->changed = true;
	}
	pthread_rwlock_unlock(&directory->lock);
	return news;
}

/* ---- asking -------------------------------------------------------------------------------- */

static void wake(struct directory *directory)
{
	uint64_t one = 1;

	if (write(directory->wake_fd, &one, sizeof(one)) < 0)
		log_bug("could not wake the thread that asks the directory");
}

uint64_t directory_refresh(struct directory *directory)
{
	uint64_t next = atomic_load(&directory->asked) + 1;

	wake(directory);
	return next;
}

uint64_t directory_answers(struct directory *directory)
{
	return atomic_load(&directory->answered);
}

int directory_bell(struct directory *directory, int *fd)
{
	unsigned bell;

	*fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (*fd < 0)
		return -1;
	pthread_mutex_lock(&directory->tasks_lock);
	bell = atomic_load(&directory->nbells);
	if (bell < DIRECTORY_BELLS)
	{
		directory->bells[bell] = *fd;
		atomic_store(&directory->nbells, bell + 1);
	}
	pthread_mutex_unlock(&directory->tasks_lock);
	if (bell < DIRECTORY_BELLS)
		return (int)bell;
	close(*fd);
	return -1;
}

void directory_change(struct directory *directory, struct directory_task *task)
{
	struct directory_task **last = &directory->tasks;

	task->next = NULL;
	pthread_mutex_lock(&directory->tasks_lock);
	while (*last != NULL)
		last = &(*last)->next;
	*last = task;
	pthread_mutex_unlock(&directory->tasks_lock);
	wake(directory);
}

struct directory_task *directory_done(struct directory *directory, unsigned bell)
{
	struct directory_task *done;

	pthread_mutex_lock(&directory->tasks_lock);
	done = directory->done[bell];
	directory->done[bell] = NULL;
	pthread_mutex_unlock(&directory->tasks_lock);
	return done;
}

void directory_empty(struct directory *directory)
{
	for (unsigned i = 0; i < DIRECTORY_BUCKETS; i++)
	{
		struct directory_entry *entry, *next;

		for (entry = directory->buckets[i]; entry != NULL; entry = next)
		{
			next = entry->next;
			free(entry);
		}
	}
	for (unsigned i = 0; i < directory->nclusters; i++)
	{
		free(directory->clusters[i].name);
		free(directory->clusters[i].conninfo);
	}
}

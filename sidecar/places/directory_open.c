/*
 * directory_open.c: what a start has to know of the directory, and the end (see directory.h).
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"
#include "places/directory_internal.h"

static struct directory *directory_new(const struct config *config)
{
	struct directory *directory = calloc(1, sizeof(*directory));

	if (directory == NULL)
		return NULL;
	directory->conninfo = config->directory;
	directory->file = config->directory_copy;
	directory->database = config->database;
	pthread_rwlock_init(&directory->lock, NULL);
	pthread_mutex_init(&directory->tasks_lock, NULL);
	directory->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (directory->wake_fd >= 0 && directory_add_cluster(directory, config->cluster) == DIRECTORY_OWN)
		return directory;
	directory_close(directory);
	return NULL;
}

/* Namespaces that are made by a server with a wrong name would be looked for elsewhere by all others. */
static bool knows_own(struct directory *directory, struct buf *error)
{
	if (!directory->has_own)
		buf_printf(error, "--cluster %s is not in the directory: millrace.add_cluster() adds it",
				   directory_cluster_name(directory, DIRECTORY_OWN));
	return directory->has_own;
}

/* What a start has to know before anything is served. */
static bool fill(struct directory *directory, const struct config *config, bool (*stopping)(void),
				 struct buf *error)
{
	static const uint64_t patience_ms = 2000; /* where the file will do */
	enum directory_read read = directory_file_read(directory, error);

	if (read == DIRECTORY_BAD_FILE)
	{
		log_warning("%.*s; it is not used", (int)error->len, error->data);
		buf_clear(error);
	}
	if (directory_ask_first(directory,
							read == DIRECTORY_READ ? patience_ms : (uint64_t)config->retry_window * 1000,
							stopping, error))
		return knows_own(directory, error);
	if (read != DIRECTORY_READ || stopping())
		return false;
	log_warning("%.*s; the server goes on with its copy, %s", (int)strcspn(error->data, "\n"), error->data,
				directory->file);
	buf_clear(error);
	directory->lost = true;
	return true;
}

struct directory *directory_open(const struct config *config, bool (*stopping)(void), struct buf *error)
{
	struct directory *directory = directory_new(config);

	if (directory == NULL)
	{
		buf_add_str(error, "out of memory or descriptors");
		return NULL;
	}
	if (fill(directory, config, stopping, error))
	{
		directory_file_write(directory);
		if (directory_start(directory))
			return directory;
		buf_add_str(error, "could not start a thread");
	}
	directory_close(directory);
	return NULL;
}

void directory_close(struct directory *directory)
{
	if (directory == NULL)
		return;
	directory_stop(directory);
	directory_empty(directory);
	buf_free(&directory->own_error);
	for (unsigned i = 0; i < atomic_load(&directory->nbells); i++)
		close(directory->bells[i]);
	if (directory->wake_fd >= 0)
		close(directory->wake_fd);
	pthread_mutex_destroy(&directory->tasks_lock);
	pthread_rwlock_destroy(&directory->lock);
	free(directory);
}

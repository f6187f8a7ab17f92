/*
 * embedded_internal: what the files of `embedded` share.
 *
 *     embedded.c              running: start, watch, stop
 *     embedded_previous.c     what is left of a Postgres before ours
 *     embedded_cluster.c      a new cluster is begun and becomes durable
 *     embedded_initdb.c       as initdb makes one
 *     embedded_settings.c     its settings
 *     embedded_prepared.c     the cluster that is kept to begin others with: where it is, whether it fits
 *     embedded_prepare.c      making it
 *     embedded_unpack.c       beginning a cluster with it
 *     embedded_pack.c         one as a file
 *     embedded_archive.c      reading and unpacking that
 *     embedded_identity.c     its identity
 *     embedded_disk.c         when the disk is full
 *     embedded_sweep.c        the temporary folders of servers that were killed
 *     embedded_child.c        the programs of PostgreSQL
 *     embedded_account.c      a name for a user that has none
 *     embedded_dir.c          the data directory
 *     embedded_environment.c  what the environment has for other servers
 */
#ifndef MILLRACE_EMBEDDED_INTERNAL_H
#define MILLRACE_EMBEDDED_INTERNAL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/config.h"
#include "serve/embedded.h"
#include "serve/embedded_dir.h"

/* Process ids are 0 where there is no such child. */
struct embedded
{
	const struct config *config;
	bool (*stopping)(void);
	struct embedded_dir dir;
	char conninfo[PATH_MAX + 128];
	char log[PATH_MAX + 32];
	char cache[PATH_MAX];	 /* the folder of the prepared cluster; empty = none */
	bool is_helper;			 /* this process is one of those that work for the server */
	bool distrusts_prepared; /* Postgres did not start on it */
	bool new_cluster;		 /* this server made it */
	pid_t postmaster;
	pid_t unpacker; /* unpacked a prepared cluster, and now makes it durable */
	pid_t preparer; /* waits until the server listens, then prepares a cluster */
	pid_t sweeper;
	int preparer_go; /* the pipe that it waits at; -1 = none */
	struct event *child_event, *restart_event, *disk_event;
	bool disk_full;	  /* and Postgres read-only */
	bool has_reserve; /* or an attempt to make one failed */
	unsigned restart_ms;
	uint64_t started_at;
};

/* The error of a start that was given up because `stopping` said so. */
#define EMBEDDED_STOPPED "stopped while starting"

/* ---- embedded_child: the programs of PostgreSQL ------------------------------ */

struct embedded_program
{
	char *const *argv;
	int death_signal;  /* what it gets when we die */
	const char *input; /* a file; NULL = our standard input */
	int output;		   /* a descriptor; -1 = the log, or our stderr at debug */
	bool asks_name;	   /* it looks up the name of its user, and ends when there is none */
};

/* What a program that looks up the name of its user is given. */
struct embedded_account
{
	char **environment; /* NULL: ours */
	char *preload;
	int library; /* a descriptor that stays open in the program; -1 = none */
};

/* Makes it, for a program that is about to be started; false: out of memory or descriptors. */
bool embedded_lend_account(const struct embedded *embedded, struct embedded_account *account);
/* After the start, whatever became of it. */
void embedded_return_account(struct embedded_account *account);

/* Of our processes that work beside a server. */
#define EMBEDDED_NICENESS 10

void embedded_pause_ms(unsigned ms);
/* Starts a program, as the user that runs Postgres; -1: errno. */
pid_t embedded_spawn(const struct embedded *embedded, const struct embedded_program *program);
/* Waits for a child, at most that long; false: it is still there. */
bool embedded_reap(pid_t child, unsigned ms, int *status);
/* Runs one to its end, or until we are to stop; false: that, or it failed, and *error says which. */
bool embedded_run(const struct embedded *embedded, const struct embedded_program *program, struct buf *error);
/* Runs one and writes what it says; false: it could not be started, failed or said more than fits. */
bool embedded_ask(const struct embedded *embedded, char *const *argv, char *answer, size_t size);
/* How a child ended, in words behind its name. */
void embedded_describe_status(int status, char *out, size_t size);
/* The last lines of the log: why Postgres did not start. */
#define EMBEDDED_LOG_TAIL 800
void embedded_read_log_tail(const struct embedded *embedded, char out[EMBEDDED_LOG_TAIL + 1]);
/* Adds how a program ended, and the end of the log. */
void embedded_explain_failure(const struct embedded *embedded, const char *program, int status,
							  struct buf *error);
/*
 * In a process that was forked to do something of ours: becomes the user that runs Postgres, leaves the
 * server's signals to the server, and gets SIGKILL when the server dies.  False: it must end at once.
 */
bool embedded_become_helper(struct embedded *embedded, pid_t parent);

/* ---- embedded_previous ------------------------------------------------------- */

#define EMBEDDED_PORT "5432" /* only part of the socket's name */

/* A process of a Postgres that works on the cluster though it is none of ours; 0 = none. */
pid_t embedded_find_previous(const struct embedded *embedded);
/* Waits until there is none; false: *error says which there is. */
bool embedded_wait_for_previous(const struct embedded *embedded, struct buf *error);
/*
 * Before Postgres starts: puts our process id into lock files that were left behind, as the one that is in
 * there may be another program's by now, and Postgres would not start.
 */
void embedded_claim_lock_files(const struct embedded *embedded);

/* ---- embedded_disk ----------------------------------------------------------- */

/* In the cluster: settings for a full disk, under the one name or the other. */
#define EMBEDDED_FULL_ON "millrace.full.conf"
#define EMBEDDED_FULL_OFF "millrace.full.off"

/* Looks for the first time: before the settings are written and Postgres starts. */
void embedded_begin_disk(struct embedded *embedded);
/* Looks again and again, in the loop of `base`; false: out of memory. */
bool embedded_watch_disk(struct embedded *embedded, struct event_base *base);
/* Makes Postgres read-only when the disk has become full, and ends that when there is room. */
void embedded_look_at_disk(struct embedded *embedded);

/* ---- embedded_sweep ---------------------------------------------------------- */

/* Starts a process that removes temporary folders like ours whose servers were killed. */
void embedded_sweep(struct embedded *embedded);
void embedded_stop_sweeper(struct embedded *embedded);

/* ---- embedded_environment ------------------------------------------------------- */

/*
 * Forgets libpq's variables (PGHOSTADDR, PGSERVICE, PGOPTIONS and the like), which would lead our connections
 * to another server or change the sessions and the programs of this one, and the language of messages; false:
 * out of memory.  In the whole process, before it has threads.
 */
bool embedded_forget_environment(void);

/* ---- embedded_settings -------------------------------------------------------- */

/* Makes postgresql.conf of the cluster in `where` include millrace.conf; false: *error says why not. */
bool embedded_include_settings(const struct embedded *embedded, const char *where, struct buf *error);
/* Writes millrace.conf, for a server of that many workers; false: *error says why not. */
bool embedded_write_settings(const struct embedded *embedded, unsigned workers, struct buf *error);

/* ---- embedded_initdb ---------------------------------------------------------- */

/* What initdb is told, which a prepared cluster must have been told, too; ends with NULL. */
extern char *const embedded_initdb_options[];

/* A cluster of initdb that includes our settings, in the new folder `where`; false: *error says why not. */
bool embedded_make_fresh(const struct embedded *embedded, const char *where, bool sync, struct buf *error);

/* ---- embedded_cluster --------------------------------------------------------- */

/* In a cluster that may not be durable yet: nothing was acknowledged from it. */
#define EMBEDDED_NEW "millrace.new"

/* Makes the cluster unless it is there; false: *error says why not. */
bool embedded_make_cluster(struct embedded *embedded, struct buf *error);
/* Before anything may be acknowledged: waits until the cluster is durable; false: *error says why not. */
bool embedded_finish_cluster(struct embedded *embedded, struct buf *error);
/* Ends the process that unpacks a prepared cluster, if there is one. */
void embedded_stop_unpacker(struct embedded *embedded);

/* ---- the prepared cluster -------------------------------------------------------- */

/*
 * Makes the new folder `where` a cluster from the prepared one, with an identity of its own; the unpacker
 * makes it durable.
 */
bool prepared_take(struct embedded *embedded, const char *where);
/* Starts the process that will prepare a cluster; it waits for prepared_go(). */
void prepared_begin(struct embedded *embedded);
/* Tells it to begin, if there is one. */
void prepared_go(struct embedded *embedded);
/* Ends it; nothing of its work is left. */
void prepared_stop(struct embedded *embedded);

#endif

/*
 * embedded_dir: the data directory of the private PostgreSQL; see embedded_dir.h.
 *
 * A directory is ours when it is empty, but for what a new volume has, or holds our lock file; another one is
 * left alone.  An existing cluster is run by the user that owns it, so that root and that user can start it
 * in turns.
 */
#include "serve/embedded_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

/* sockaddr_un holds 107 bytes and the name of the socket comes behind. */
#define SOCKET_DIR_MAX 90

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)type;
	(void)where;
	return remove(path);
}

void embedded_dir_remove_tree(const char *path)
{
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/*
 * The raw calls: glibc's own ones synchronise all threads, and in the child of a process with
 * threads there are none, but perhaps a lock that one of them held.
 */
bool embedded_dir_become_user(const struct embedded_dir *dir)
{
	gid_t group = dir->gid;

	if (!dir->drop)
		return true;
	return syscall(SYS_setgroups, (size_t)1, &group) == 0 && syscall(SYS_setgid, dir->gid) == 0 &&
		   syscall(SYS_setuid, dir->uid) == 0;
}

static void use_account(struct embedded_dir *dir, const struct passwd *account)
{
	dir->uid = account->pw_uid;
	dir->gid = account->pw_gid;
	snprintf(dir->user, sizeof(dir->user), "%s", account->pw_name);
}

static void use_number(struct embedded_dir *dir, uid_t uid, gid_t gid)
{
	dir->uid = uid;
	dir->gid = gid;
	snprintf(dir->user, sizeof(dir->user), "%u", (unsigned)uid);
}

/* Root becomes the owner of an existing cluster, else `postgres`, else `nobody`; other users stay. */
static bool choose_user(struct embedded_dir *dir, struct buf *error)
{
	struct passwd *account = NULL;
	struct stat status;

	dir->drop = geteuid() == 0;
	if (!dir->drop)
	{
		use_number(dir, geteuid(), getegid());
		return true;
	}
	if (lstat(dir->cluster, &status) == 0 && status.st_uid != 0)
	{
		account = getpwuid(status.st_uid);
		if (account == NULL) /* of a container whose user has but a number */
		{
			use_number(dir, status.st_uid, status.st_gid);
			return true;
		}
	}
	else
		account = getpwnam("postgres");
	if (account == NULL)
		account = getpwnam("nobody");
	if (account == NULL || account->pw_uid == 0)
	{
		buf_add_str(error,
					"PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody;"
					" start the server as an ordinary user");
		return false;
	}
	use_account(dir, account);
	return true;
}

/* What is in a new volume: of file systems, of snapshots, of folders that a repository is to keep. */
static bool is_of_volume(const char *name)
{
	static const char *const names[] = {".",		  "..",	  "lost+found", ".snapshot",
										".snapshots", ".zfs", ".gitkeep",	".gitignore"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

static bool is_empty_or_ours(const char *path)
{
	char lock[PATH_MAX + 32];
	const struct dirent *entry;
	bool empty = true;
	DIR *listing;

	snprintf(lock, sizeof(lock), "%s/" EMBEDDED_LOCK, path);
	if (access(lock, F_OK) == 0)
		return true;
	listing = opendir(path);
	if (listing == NULL)
		return false;
	while (empty && (entry = readdir(listing)) != NULL)
		empty = is_of_volume(entry->d_name);
	closedir(listing);
	return empty;
}

/* Sets dir->path to an existing directory that is ours to use. */
static bool make_directory(struct embedded_dir *dir, const char *path, struct buf *error)
{
	if (dir->temporary)
	{
		const char *tmp = getenv("TMPDIR");

		snprintf(dir->path, sizeof(dir->path), "%s/" EMBEDDED_TEMPORARY, tmp && tmp[0] == '/' ? tmp : "/tmp");
		if (mkdtemp(dir->path) != NULL)
			return true;
		buf_printf(error, "could not make a temporary folder %s: %s", dir->path, strerror(errno));
		return false;
	}
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
	{
		buf_printf(error, "could not make the data directory %s: %s", path, strerror(errno));
		return false;
	}
	if (realpath(path, dir->path) == NULL)
	{
		buf_printf(error, "could not reach the data directory %s: %s", path, strerror(errno));
		return false;
	}
	if (is_empty_or_ours(dir->path))
		return true;
	if (access(dir->path, R_OK | X_OK) != 0)
	{
		buf_printf(error, "the data directory %s belongs to another user: %s", dir->path, strerror(errno));
		return false;
	}
	buf_printf(error, "the data directory %s is neither empty nor one of Millrace; choose another --data-dir",
			   dir->path);
	return false;
}

/*
 * Some container platforms give a volume's files to a group whenever they mount it, and Postgres does not
 * start on a cluster that a group may write.
 */
static void close_cluster(const struct embedded_dir *dir)
{
	struct stat status;

	if (lstat(dir->cluster, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == dir->uid &&
		(status.st_mode & (S_IWGRP | S_IRWXO)) != 0 && chmod(dir->cluster, 0700) != 0)
		log_warning("could not close %s to others: %s", dir->cluster, strerror(errno));
}

static bool own_directory(const struct embedded_dir *dir, struct buf *error)
{
	struct stat status;

	close_cluster(dir);
	if (stat(dir->path, &status) == 0 && status.st_uid != dir->uid && !dir->drop)
	{
		bool writable = status.st_uid == 0 && access(dir->path, R_OK | W_OK | X_OK) == 0;

		/* A container's volume: root's, and for a group that we are in.  What we make in it is ours alone. */
		if (writable && (status.st_mode & S_IWOTH) == 0)
			return true;
		if (writable)
			buf_printf(
				error,
				"the data directory %s is open to all users; name a folder below it, which is then made",
				dir->path);
		else
			buf_printf(error, "the data directory %s belongs to another user (uid %u)", dir->path,
					   (unsigned)status.st_uid);
		return false;
	}
	if (chmod(dir->path, 0700) == 0 && (!dir->drop || chown(dir->path, dir->uid, dir->gid) == 0))
		return true;
	buf_printf(error, "could not take over the data directory %s: %s", dir->path, strerror(errno));
	return false;
}

/* A directory below one that only root may enter is of no use to the user that runs Postgres. */
static bool user_can_reach(const struct embedded_dir *dir, struct buf *error)
{
	int status = 0;
	pid_t child;

	if (!dir->drop)
		return true;
	child = fork();
	if (child == 0)
		_exit(embedded_dir_become_user(dir) && chdir(dir->path) == 0 ? 0 : 1);
	if (child > 0 && waitpid(child, &status, 0) == child && status == 0)
		return true;
	buf_printf(
		error,
		"the data directory %s can't be reached by user %s, who runs PostgreSQL (it refuses to run as root);"
		" choose a --data-dir whose parents all users may enter, such as /var/lib/millrace,"
		" or start the server as an ordinary user",
		dir->path, dir->user);
	return false;
}

int embedded_dir_create(const struct embedded_dir *dir, const char *path, int flags)
{
	int fd = open(path, O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);

	if (fd >= 0 && dir->drop && fchown(fd, dir->uid, dir->gid) != 0)
	{
		close(fd);
		return -1;
	}
	return fd;
}

/* The kernel lets go of the lock when we die, however that happens. */
static bool take_lock(struct embedded_dir *dir, struct buf *error)
{
	char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/" EMBEDDED_LOCK, dir->path);
	dir->lock = embedded_dir_create(dir, path, O_RDWR);
	if (dir->lock >= 0 && flock(dir->lock, LOCK_EX | LOCK_NB) == 0)
		return true;
	if (dir->lock >= 0 && errno == EWOULDBLOCK)
		buf_printf(
			error,
			"another millrace server is using the data directory %s; stop it or choose another --data-dir",
			dir->path);
	else
		buf_printf(error, "could not lock %s: %s", path, strerror(errno));
	return false;
}

static bool is_plain(const char *path)
{
	return path[strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-")] == '\0';
}

/* run/ in the data directory, or a folder below /tmp when that path is too long or odd for a socket. */
static bool make_socket_dir(struct embedded_dir *dir, struct buf *error)
{
	snprintf(dir->sockets, sizeof(dir->sockets), "%s/run", dir->path);
	dir->temporary_sockets = strlen(dir->sockets) > SOCKET_DIR_MAX || !is_plain(dir->sockets);
	if (dir->temporary_sockets)
	{
		snprintf(dir->sockets, sizeof(dir->sockets), "/tmp/" EMBEDDED_SOCKETS);
		if (mkdtemp(dir->sockets) == NULL)
		{
			dir->temporary_sockets = false;
			buf_printf(error, "could not make %s: %s", dir->sockets, strerror(errno));
			return false;
		}
	}
	else if (mkdir(dir->sockets, 0700) != 0 && errno != EEXIST)
	{
		buf_printf(error, "could not make %s: %s", dir->sockets, strerror(errno));
		return false;
	}
	if (chmod(dir->sockets, 0700) == 0 && (!dir->drop || chown(dir->sockets, dir->uid, dir->gid) == 0))
		return true;
	buf_printf(error, "could not own %s: %s", dir->sockets, strerror(errno));
	return false;
}

bool embedded_dir_open(struct embedded_dir *dir, const char *path, bool temporary, struct buf *error)
{
	*dir = (struct embedded_dir){.temporary = temporary, .lock = -1};
	if (!make_directory(dir, path, error))
		return false;
	snprintf(dir->cluster, sizeof(dir->cluster), "%s/pg", dir->path);
	if (choose_user(dir, error) && own_directory(dir, error) && user_can_reach(dir, error) &&
		take_lock(dir, error) && make_socket_dir(dir, error))
		return true;
	embedded_dir_close(dir);
	return false;
}

void embedded_dir_close(struct embedded_dir *dir)
{
	if (dir->temporary_sockets)
		embedded_dir_remove_tree(dir->sockets);
	if (dir->temporary)
		embedded_dir_remove_tree(dir->path);
	if (dir->lock >= 0)
		close(dir->lock);
	dir->lock = -1;
}

bool embedded_dir_has_cluster(const struct embedded_dir *dir)
{
	return access(dir->cluster, F_OK) == 0;
}

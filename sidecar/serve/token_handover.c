/*
 * token_handover: how a new token gets to its owner; see token_handover.h.
 */
#include "serve/token_handover.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"

static void explain(struct buf *error, const char *path)
{
	buf_printf(error, "could not write the token of namespace default to %s: %s", path, strerror(errno));
}

/* Whether a file may be made beside others in the folder of `path`; else errno. */
static bool can_be_made(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX] = ".";

	if (slash != NULL)
		snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return access(folder, W_OK | X_OK) == 0;
}

bool token_can_be_handed_over(const struct config *config, struct buf *error)
{
	const char *path = config->new_token_file;
	bool can;
	int fd;

	if (path == NULL || config->token != NULL || config->test_mode)
		return true;
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	/* ENXIO: a pipe whose reader is still to come. */
	can = fd >= 0 || errno == ENXIO || (errno == ENOENT && can_be_made(path));
	if (!can)
		explain(error, path);
	if (fd >= 0)
		close(fd);
	return can;
}

/* Only the user that runs the server may read the file. */
static bool write_down(const char *path, const char *token, struct buf *error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool written = fd >= 0 && fchmod(fd, 0600) == 0 && dprintf(fd, "%s\n", token) > 0 && fsync(fd) == 0;

	if (!written)
		explain(error, path);
	if (fd >= 0)
		close(fd);
	return written;
}

bool token_hand_over(const struct config *config, const char *token, struct buf *error)
{
	if (config->new_token_file != NULL)
		return write_down(config->new_token_file, token, error);
	printf("Namespace default was created. Its token, which opens everything and is shown only this once:\n\n"
		   "    %s\n\n",
		   token);
	if (fflush(stdout) == 0)
		return true;
	buf_printf(error,
			   "could not show the token of namespace default on the standard output: %s; --new-token-file "
			   "writes it to a file",
			   strerror(errno));
	return false;
}

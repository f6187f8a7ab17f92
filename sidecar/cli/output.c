/*
 * output.c: a file that appears under its name whole or not at all (see internal.h).
 *
 * It is written under a name of its own in the same folder, flushed, and renamed.  A signal that ends the
 * program removes it.  What is no ordinary file (a pipe, /dev/null) is written as it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define ZLIB_CONST
#include <zlib.h>

#include "cli/internal.h"

#define GZIP_WINDOW (15 + 16) /* zlib's way to ask for the gzip format */

static const int deadly_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ};

/* What the signal handler removes; empty = nothing. */
static char temporary[PATH_MAX];

static void on_deadly_signal(int number)
{
	unlink(temporary);
	signal(number, SIG_DFL);
	raise(number);
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_deadly_signal};

	for (size_t i = 0; i < sizeof(deadly_signals) / sizeof(deadly_signals[0]); i++)
	{
		struct sigaction before;

		/* What the parent told us to ignore stays ignored. */
		if (sigaction(deadly_signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(deadly_signals[i], &action, NULL);
	}
}

static bool complain(const struct cli_output *output, const char *doing)
{
	cli_complain("cannot %s %s: %s", doing, output->name ? output->name : "the standard output",
				 strerror(errno));
	return false;
}

/* Where the file will be: a symbolic link stays one. */
static bool resolve(struct cli_output *output)
{
	char *real = realpath(output->name, NULL);
	int len = snprintf(output->path, sizeof(output->path), "%s", real ? real : output->name);

	free(real);
	if (len < (int)sizeof(output->path) - 8)
		return true;
	errno = ENAMETOOLONG;
	return false;
}

/* The rights of the file that is replaced, or those of a new one. */
static mode_t mode_of(const char *path)
{
	struct stat status;
	mode_t mask;

	if (stat(path, &status) == 0)
		return status.st_mode & 07777;
	mask = umask(0);
	umask(mask);
	return 0666 & ~mask;
}

static bool open_temporary(struct cli_output *output)
{
	const char *slash = strrchr(output->path, '/');
	int folder = slash != NULL ? (int)(slash - output->path) + 1 : 0;
	char name[PATH_MAX];

	if (snprintf(name, sizeof(name), "%.*s.%s.XXXXXX", folder, output->path, output->path + folder) >=
		(int)sizeof(name))
	{
		errno = ENAMETOOLONG;
		return false;
	}
	output->fd = mkostemp(name, O_CLOEXEC);
	if (output->fd < 0)
		return false;
	memcpy(temporary, name, sizeof(name));
	catch_signals();
	return fchmod(output->fd, mode_of(output->path)) == 0;
}

bool cli_output_open(struct cli_output *output, const char *name)
{
	struct stat status;

	*output = (struct cli_output){.name = name, .fd = STDOUT_FILENO};
	if (strcmp(name, "-") == 0)
	{
		output->name = NULL;
		return true;
	}
	if (stat(name, &status) == 0 && !S_ISREG(status.st_mode))
	{
		output->fd = open(name, O_WRONLY | O_CLOEXEC);
		return output->fd >= 0 || complain(output, "open");
	}
	if (resolve(output) && open_temporary(output))
		return true;
	complain(output, "write");
	cli_output_discard(output);
	return false;
}

static bool write_all(struct cli_output *output, struct slice bytes)
{
	while (bytes.len > 0)
	{
		ssize_t n = write(output->fd, bytes.bytes, bytes.len);

		if (n < 0 && errno != EINTR)
			return complain(output, "write");
		bytes.bytes += n > 0 ? n : 0;
		bytes.len -= n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool write_compressed(struct cli_output *output, struct slice bytes, int flush)
{
	static unsigned char out[65536];
	z_stream *z = output->deflater;

	z->next_in = (const unsigned char *)bytes.bytes;
	z->avail_in = (unsigned)bytes.len;
	do
	{
		z->next_out = out;
		z->avail_out = sizeof(out);
		(void)deflate(z, flush);
		if (!write_all(output, (struct slice){(char *)out, sizeof(out) - z->avail_out}))
			return false;
	} while (z->avail_out == 0);
	return true;
}

bool cli_output_compress(struct cli_output *output)
{
	output->deflater = calloc(1, sizeof(*output->deflater));
	if (output->deflater != NULL && deflateInit2(output->deflater, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
												 GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) == Z_OK)
		return true;
	free(output->deflater);
	output->deflater = NULL;
	cli_complain("out of memory");
	return false;
}

bool cli_output_write(struct cli_output *output, struct slice bytes)
{
	return output->deflater != NULL ? write_compressed(output, bytes, Z_NO_FLUSH) : write_all(output, bytes);
}

static void free_deflater(struct cli_output *output)
{
	if (output->deflater != NULL)
		deflateEnd(output->deflater);
	free(output->deflater);
	output->deflater = NULL;
}

/* A new name is durable when its folder is. */
bool cli_output_sync_folder(const char *path)
{
	char copy[PATH_MAX];
	int fd;
	bool synced;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	synced = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
	if (fd >= 0)
		close(fd);
	return synced;
}

/* A link, unlike a new name, does not take the place of another file. */
static bool give_name(const struct cli_output *output)
{
	if (!output->only_new)
		return rename(temporary, output->path) == 0;
	return link(temporary, output->path) == 0 && unlink(temporary) == 0;
}

bool cli_output_finish(struct cli_output *output)
{
	int fd = output->fd;

	if (output->deflater != NULL && !write_compressed(output, (struct slice){NULL, 0}, Z_FINISH))
	{
		cli_output_discard(output);
		return false;
	}
	free_deflater(output);
	if (output->path[0] == '\0')
		return fd == STDOUT_FILENO || close(fd) == 0 || complain(output, "write");
	if (fsync(fd) != 0 || !give_name(output))
	{
		complain(output, "write");
		cli_output_discard(output);
		return false;
	}
	temporary[0] = '\0';
	close(fd);
	return cli_output_sync_folder(output->path) || complain(output, "make durable");
}

void cli_output_discard(struct cli_output *output)
{
	free_deflater(output);
	if (temporary[0] != '\0')
		unlink(temporary);
	temporary[0] = '\0';
	if (output->path[0] != '\0' && output->fd >= 0)
		close(output->fd);
}

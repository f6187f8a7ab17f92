/*
 * consume_print.c: the lines of a claim, for a reader (see consume_internal.h).
 *
 * A reader has taken them when they are no more in the pipe (or socket: Node gives its children those), and
 * of a file, when they are on disk.  A pipe tells whether something can be written, but not that it is empty,
 * so that is looked at now and then.  What the reader does with them afterwards can't be seen.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/consume_internal.h"

#define PIECE 4096 /* a pipe that can be written takes so much without waiting */
#define LOOK_MS 2  /* whether a reader has taken all, at first, and at most: */
#define LOOK_MAX_MS 50

enum taking
{
	TAKING, /* not all yet */
	TAKEN,
	GONE, /* nobody reads any more */
	BROKEN,
};

/* Bytes that nobody has read yet. */
static int unread(mode_t mode)
{
	int bytes = 0;

	if (S_ISFIFO(mode))
		ioctl(STDOUT_FILENO, FIONREAD, &bytes);
	else if (S_ISSOCK(mode))
		ioctl(STDOUT_FILENO, TIOCOUTQ, &bytes);
	return bytes;
}

static enum taking complain(void)
{
	if (errno == EPIPE)
		return GONE;
	cli_complain("cannot write the standard output: %s", strerror(errno));
	return BROKEN;
}

static enum taking write_some(struct slice *lines)
{
	ssize_t n = write(STDOUT_FILENO, lines->bytes, lines->len < PIECE ? lines->len : PIECE);

	if (n < 0 && errno != EINTR && errno != EAGAIN)
		return complain();
	lines->bytes += n > 0 ? n : 0;
	lines->len -= n > 0 ? (size_t)n : 0;
	return TAKING;
}

/* After all is written.  `gone`: the other end is closed; a socket then forgets what was not read. */
static enum taking look(mode_t mode, bool gone)
{
	if (S_ISREG(mode))
		return fdatasync(STDOUT_FILENO) == 0 || errno == EINVAL ? TAKEN : complain();
	if (gone && S_ISSOCK(mode))
		return GONE;
	return unread(mode) == 0 ? TAKEN : gone ? GONE : TAKING;
}

/* Until all is taken, we are asked to end (TAKING), or the claim is lost. */
static enum taking deliver(struct consume *consume, struct consume_claim *claim, struct slice lines,
						   bool *lost)
{
	enum taking taking = TAKING;
	int pause = LOOK_MS;
	struct stat status;

	if (fstat(STDOUT_FILENO, &status) != 0)
		return complain();
	while (taking == TAKING && !consume_stopping())
	{
		struct pollfd polled[] = {{.fd = STDOUT_FILENO, .events = lines.len > 0 ? POLLOUT : 0},
								  {.fd = consume_signal_fd(), .events = POLLIN}};
		int wait = *lost ? LOOK_MAX_MS : consume_lease_wait(claim);

		if (lines.len == 0 && (taking = look(status.st_mode, false)) != TAKING)
			break;
		poll(polled, 2, lines.len == 0 && pause < wait ? pause : wait);
		if (polled[1].revents != 0)
			consume_signals_seen();
		if (lines.len > 0 && polled[0].revents != 0)
			taking = write_some(&lines);
		else if (polled[0].revents & (POLLERR | POLLHUP))
			taking = look(status.st_mode, true);
		pause = pause * 2 < LOOK_MAX_MS ? pause * 2 : LOOK_MAX_MS;
		*lost = *lost || !consume_keep(consume, claim);
	}
	return taking;
}

enum consume_progress consume_print(struct consume *consume, struct consume_claim *claim)
{
	struct json_iterator iterator;
	struct consume_message message;
	struct slice array;
	struct buf lines = {0};
	enum taking taking = BROKEN;
	enum consume_result result = CONSUME_DONE;
	bool lost = false;
	int64_t none = 0;

	json_iterate(&iterator, claim->messages);
	while (json_next_element(&iterator, &array))
	{
		consume_read_message(array, &message);
		consume_add_line(&lines, &message);
	}
	if (lines.failed)
		cli_complain("out of memory");
	else
		taking = deliver(consume, claim, (struct slice){lines.data, lines.len}, &lost);
	buf_free(&lines);
	if (!lost)
		result = consume_settle(consume, claim, slice_of(""), taking == TAKEN ? NULL : &none);
	if (taking == BROKEN || result == CONSUME_REFUSED)
		return CONSUME_FAILED;
	return taking == GONE ? CONSUME_END : CONSUME_GO_ON;
}

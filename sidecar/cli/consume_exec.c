/*
 * consume_exec.c: a command for each message (see consume_internal.h).
 *
 * It runs in a process group of its own, so that a signal reaches all that a shell has started.  The message
 * is a file in memory: the command need not read it, or not before something else.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/config.h"
#include "cli/consume_internal.h"

enum outcome
{
	OUTCOME_SETTLED,
	OUTCOME_RETRY,
	OUTCOME_PARK,
	OUTCOME_STOPPED, /* we are asked to end */
	OUTCOME_LOST,	 /* the claim */
	OUTCOME_BROKEN,	 /* complained about */
};

/* What the command says of a message. */
enum
{
	EXIT_PARK = 65, /* EX_DATAERR; EX_TEMPFAIL, 75, fails as any other */
	EXIT_CANNOT_RUN = 126,
	EXIT_NOT_FOUND = 127,
};

/* How far a claim is dealt with. */
struct execution
{
	struct consume *consume;
	struct consume_claim *claim;
	struct buf failed;	   /* elements of consumer.settle's array */
	struct slice *streams; /* of them */
	size_t nstreams;
	int64_t up_to; /* the last message that was dealt with, or was passed over with its stream */
};

/* ---- the command ------------------------------------------------------------------ */

static void set_variable(const char *name, struct slice value)
{
	struct buf text = {0};

	cli_decode(value, &text);
	buf_add(&text, "", 1);
	if (!text.failed)
		setenv(name, text.data, 1);
	buf_free(&text);
}

/* Of a message that is delivered again it is in "retries". */
static struct slice attempt_of(const struct consume_claim *claim, const struct consume_message *message)
{
	struct json_iterator iterator;
	struct slice key, value;

	json_iterate(&iterator, json_kind(claim->retries) == JSON_OBJECT ? claim->retries : slice_of("{}"));
	while (json_next_member(&iterator, &key, &value))
	{
		struct slice position = cli_member(value, "position");

		if (key.len == message->stream.len && memcmp(key.bytes, message->stream.bytes, key.len) == 0 &&
			position.len == message->position.len &&
			memcmp(position.bytes, message->position.bytes, position.len) == 0)
			return cli_member(value, "attempt");
	}
	return slice_of("1");
}

/* The message's line, as a file at its beginning; -1: complained about. */
static int open_input(const struct consume_message *message)
{
	int fd = memfd_create("message", MFD_CLOEXEC);
	struct buf line = {0};
	size_t written = 0;

	consume_add_line(&line, message);
	while (fd >= 0 && !line.failed && written < line.len)
	{
		ssize_t n = write(fd, line.data + written, line.len - written);

		if (n < 0 && errno != EINTR)
			break;
		written += n > 0 ? (size_t)n : 0;
	}
	if (fd >= 0 && (line.failed || written < line.len || lseek(fd, 0, SEEK_SET) != 0))
	{
		close(fd);
		fd = -1;
	}
	if (fd < 0)
		cli_complain("cannot hand a message to the command: %s", strerror(errno));
	buf_free(&line);
	return fd;
}

static void run(const struct execution *execution, const struct consume_message *message, int input)
{
	const struct config *config = execution->consume->config;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	consume_restore_signals();
	dup2(input, STDIN_FILENO);
	unsetenv("MILLRACE_TOKEN"); /* it was made illegible (config_secret.c) */
	setenv("MILLRACE_CONSUMER", config->consumer, 1);
	set_variable("MILLRACE_STREAM", message->stream);
	set_variable("MILLRACE_TYPE", message->type);
	set_variable("MILLRACE_POSITION", message->position);
	set_variable("MILLRACE_GLOBAL_POSITION", message->global_position);
	set_variable("MILLRACE_ATTEMPT", attempt_of(execution->claim, message));
	execl("/bin/sh", "sh", "-c", config->exec, (char *)NULL);
	_exit(EXIT_NOT_FOUND);
}

/* Keeps the claim while the command runs; returns its status as waitpid has it. */
static int await(struct execution *execution, pid_t child, bool *lost)
{
	bool told = false;
	int status;

	while (waitpid(child, &status, WNOHANG) != child)
	{
		struct pollfd polled = {.fd = consume_signal_fd(), .events = POLLIN};

		if ((consume_stopping() || *lost) && !told)
			kill(-child, SIGTERM);
		told = told || consume_stopping() || *lost;
		if (poll(&polled, 1, *lost ? -1 : consume_lease_wait(execution->claim)) > 0)
			consume_signals_seen();
		*lost = *lost || !consume_keep(execution->consume, execution->claim);
	}
	return status;
}

static enum outcome judge(const struct execution *execution, int status, bool lost)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	if (lost)
		return OUTCOME_LOST;
	if (code == 0)
		return OUTCOME_SETTLED;
	if (code == EXIT_PARK)
		return OUTCOME_PARK;
	if (consume_stopping())
		return OUTCOME_STOPPED;
	if (code != EXIT_CANNOT_RUN && code != EXIT_NOT_FOUND)
		return OUTCOME_RETRY;
	cli_complain("the command can't be run, it ended with status %d: %s", code,
				 execution->consume->config->exec);
	return OUTCOME_BROKEN;
}

static enum outcome run_command(struct execution *execution, const struct consume_message *message,
								int *status)
{
	int input = open_input(message);
	pid_t child = input < 0 ? -1 : fork();
	bool lost = false;

	if (child == 0)
		run(execution, message, input);
	if (input >= 0)
		close(input);
	if (child < 0)
	{
		if (input >= 0)
			cli_complain("cannot run the command: %s", strerror(errno));
		return OUTCOME_BROKEN;
	}
	setpgid(child, child); /* before we signal it */
	*status = await(execution, child, &lost);
	return judge(execution, *status, lost);
}

/* ---- the claim ---------------------------------------------------------------------- */

/* Whether an earlier message of what is kept in order has failed. */
static bool is_blocked(const struct execution *execution, struct slice stream)
{
	if (execution->consume->ordered)
		return execution->nstreams > 0;
	for (size_t i = 0; i < execution->nstreams; i++)
	{
		const struct slice *other = &execution->streams[i];

		if (other->len == stream.len && memcmp(other->bytes, stream.bytes, stream.len) == 0)
			return true;
	}
	return false;
}

static void note_failure(struct execution *execution, const struct consume_message *message, int status,
						 bool park)
{
	struct buf *out = &execution->failed;

	buf_printf(out, "%s{\"stream\":%.*s,\"position\":%.*s,\"error\":\"", out->len > 0 ? "," : "",
			   (int)message->stream.len, message->stream.bytes, (int)message->position.len,
			   message->position.bytes);
	if (WIFSIGNALED(status))
		buf_printf(out, "the command was ended by signal %d\"", WTERMSIG(status));
	else
		buf_printf(out, "the command ended with status %d\"", WEXITSTATUS(status));
	buf_add_str(out, park ? ",\"park\":true}" : "}");
	execution->streams[execution->nstreams++] = message->stream;
}

/* Runs the command for one message after the other; what ended that. */
static enum outcome run_commands(struct execution *execution)
{
	struct json_iterator iterator;
	struct consume_message message;
	struct slice array;

	json_iterate(&iterator, execution->claim->messages);
	while (json_next_element(&iterator, &array))
	{
		enum outcome outcome = OUTCOME_SETTLED;
		int status = 0;

		if (consume_stopping())
			return OUTCOME_STOPPED;
		consume_read_message(array, &message);
		if (!is_blocked(execution, message.stream))
			outcome = run_command(execution, &message, &status);
		if (outcome >= OUTCOME_STOPPED)
			return outcome;
		if (outcome != OUTCOME_SETTLED)
			note_failure(execution, &message, status, outcome == OUTCOME_PARK);
		json_integer(message.global_position, &execution->up_to);
	}
	return OUTCOME_SETTLED;
}

enum consume_progress consume_exec(struct consume *consume, struct consume_claim *claim)
{
	struct execution execution = {.consume = consume, .claim = claim};
	enum consume_result result = CONSUME_LOST;
	enum outcome outcome = OUTCOME_BROKEN;

	execution.streams = calloc((size_t)consume->config->max, sizeof(*execution.streams));
	if (execution.streams == NULL)
		cli_complain("out of memory");
	else
		outcome = run_commands(&execution);
	if (outcome != OUTCOME_LOST)
		result = consume_settle(consume, claim, (struct slice){execution.failed.data, execution.failed.len},
								outcome == OUTCOME_SETTLED ? NULL : &execution.up_to);
	if (result == CONSUME_LOST)
		cli_complain("claim %lld is lost: what is not settled comes again", (long long)claim->number);
	buf_free(&execution.failed);
	free(execution.streams);
	return outcome == OUTCOME_BROKEN || result == CONSUME_REFUSED ? CONSUME_FAILED : CONSUME_GO_ON;
}

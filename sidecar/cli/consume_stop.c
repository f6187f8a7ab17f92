/*
 * consume_stop.c: signals (see consume_internal.h).
 *
 * They interrupt what waits: connecting, and poll by way of a descriptor that is readable after one.
 */
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cli/consume_internal.h"

static volatile sig_atomic_t stop_signals = 0;
static bool stop_asked = false; /* by ourselves */
static int bell = -1;

static void ring(void)
{
	uint64_t one = 1;

	if (write(bell, &one, sizeof(one)) < 0)
		return;
}

static void on_stop(int number)
{
	(void)number;
	if (++stop_signals > 1)
		_exit(CLI_FAILED);
	ring();
}

static void on_child(int number)
{
	(void)number;
	ring();
}

bool consume_watch_signals(void)
{
	struct sigaction end = {.sa_handler = on_stop};
	struct sigaction child = {.sa_handler = on_child, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (bell < 0)
	{
		cli_complain("cannot watch for signals");
		return false;
	}
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGCHLD, &child, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	return true;
}

bool consume_stopping(void)
{
	return stop_asked || stop_signals > 0;
}

void consume_stop(void)
{
	stop_asked = true;
}

int consume_signal_fd(void)
{
	return bell;
}

void consume_signals_seen(void)
{
	uint64_t count;

	if (read(bell, &count, sizeof(count)) < 0)
		return;
}

void consume_restore_signals(void)
{
	static const int ours[] = {SIGTERM, SIGINT, SIGCHLD, SIGPIPE};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		signal(ours[i], SIG_DFL);
}

/*
 * ask.c: statements of a move, what they answer, and when they are given up.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "move/internal.h"

#include "extension/protocol.h"

#define INSIST_MS 20000
#define INSIST_STEP_MS 200

static volatile sig_atomic_t told_to_stop;
static bool held;

bool move_is_stopping(void)
{
	return told_to_stop && !held;
}

bool move_was_told_to_stop(void)
{
	return told_to_stop;
}

void move_hold_signals(bool hold)
{
	held = hold;
}

static void on_signal(int number)
{
	(void)number;
	told_to_stop = 1;
}

void move_catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

void move_wait(unsigned ms)
{
	struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};

	nanosleep(&pause, NULL);
}

void move_die_at(const char *place)
{
	const char *wanted = getenv("MILLRACE_MOVE_KILL_AT");

	if (wanted != NULL && strcmp(wanted, place) == 0)
		raise(SIGKILL);
}

bool move_fail(struct move *move, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	buf_clear(&move->error);
	buf_add_str(&move->error, text);
	return false;
}

bool move_is_true(const struct buf *answer)
{
	return answer->len > 0 && answer->data[0] == 't';
}

bool move_ask(struct move *move, struct session *session, struct buf *answer, const char *doing,
			  const char *sql, int nparams, const char *const *params)
{
	struct pg_result *result = session_ask_with(session, doing, sql, params, nparams);
	bool done = session_succeeded(result);

	if (!done)
	{
		buf_clear(&move->error);
		move->in_the_way = session_has_sqlstate(result, SQLSTATE_LOCK_NOT_AVAILABLE) ||
						   session_has_sqlstate(result, SQLSTATE_OBJECT_IN_USE);
		session_explain(&move->error, doing, result);
	}
	else if (answer != NULL)
	{
		buf_clear(answer);
		if (session_rows(result) > 0)
			buf_add_str(answer, session_value(result, 0));
		buf_add(answer, "", 1);
		done = !answer->failed || move_fail(move, "out of memory");
	}
	session_free(result);
	return done;
}

bool move_insist(struct move *move, struct session *session, const char *doing, const char *sql, int nparams,
				 const char *const *params)
{
	uint64_t until = clock_ms() + INSIST_MS;

	while (!move_ask(move, session, NULL, doing, sql, nparams, params))
	{
		if (!move->in_the_way || clock_ms() > until || move_is_stopping())
			return false;
		move_wait(INSIST_STEP_MS);
	}
	return true;
}

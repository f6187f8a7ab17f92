/*
 * consume.c: `millrace consume` (see consume_internal.h).
 */
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/config.h"
#include "cli/cli.h"
#include "cli/consume_internal.h"

#define PAUSED_MS 1000 /* between looks at a consumer that does not run */

/* Says once why a consumer gives nothing; whether it does. */
static bool is_running(struct consume *consume, struct slice reply)
{
	struct slice state = cli_member(reply, "state");
	struct buf text = {0};
	bool running = state.bytes == NULL || json_string_is(state, "running");

	cli_decode(state, &text);
	if (cli_member(reply, "reason").bytes != NULL)
		buf_add_str(&text, ": ");
	cli_decode(cli_member(reply, "reason"), &text);
	if (!running && !consume->complained)
		cli_complain("the consumer is %.*s", (int)text.len, text.data ? text.data : "");
	consume->complained = !running;
	buf_free(&text);
	return running;
}

/* How the consumer keeps order; false: complained about, or we are asked to end. */
static bool find_consumer(struct consume *consume)
{
	struct slice reply, ordering;

	if (consume_call(consume, "info", slice_of("{}"),
					 consume->config->once ? &consume_minute : &consume_patient) != CONSUME_DONE)
		return false;
	reply = json_trim((struct slice){consume->reply.data, consume->reply.len});
	ordering = cli_member(reply, "ordering");
	consume->ordered = ordering.bytes != NULL && json_string_is(ordering, "all");
	is_running(consume, reply);
	return true;
}

/* Where there was nothing to do: a consumer that does not run is not asked again at once. */
static void rest(struct consume *consume, const struct consume_claim *claim)
{
	struct pollfd polled = {.fd = consume_signal_fd(), .events = POLLIN};

	if (!is_running(consume, json_trim((struct slice){claim->text.data, claim->text.len})) &&
		!consume->config->once && !consume_stopping())
		poll(&polled, 1, PAUSED_MS);
}

/* One claim after the other; true: ended as asked. */
static bool consume_all(struct consume *consume, struct consume_claim *claim)
{
	enum consume_progress progress = CONSUME_GO_ON;

	while (progress == CONSUME_GO_ON && !consume_stopping())
	{
		enum consume_result result = consume_next(consume, claim);

		if (result != CONSUME_DONE)
			return result == CONSUME_STOPPED;
		if (claim->number > 0)
			progress =
				consume->config->exec != NULL ? consume_exec(consume, claim) : consume_print(consume, claim);
		else
			rest(consume, claim);
		if (claim->number == 0 && consume->config->once)
			break;
	}
	return progress != CONSUME_FAILED;
}

int cli_consume(const struct config *config)
{
	struct consume consume = {.config = config, .member = config->member};
	struct consume_claim claim = {0};
	char host[128] = "", member[160];
	bool done;

	gethostname(host, sizeof(host) - 1);
	snprintf(member, sizeof(member), "%s-%ld", host, (long)getpid());
	if (consume.member == NULL)
		consume.member = member;
	if (!consume_watch_signals())
		return CLI_FAILED;
	done = find_consumer(&consume) ? consume_all(&consume, &claim) : consume_stopping();
	buf_free(&claim.text);
	buf_free(&consume.reply);
	return done ? CLI_DONE : consume.wrong_settings ? CLI_USAGE : CLI_FAILED;
}

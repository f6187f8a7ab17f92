/*
 * consume_claim.c: a claim: how it is got, kept and settled, and its messages (see consume_internal.h).
 */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "cli/consume_internal.h"

#define WAIT_MS 30000  /* of a call, below what proxies bear */
#define EXTEND_MS 2000 /* for an answer, while a command runs */
#define AGAIN_MS 1000  /* until a lease that was not extended is tried again */

static struct slice slice_of_buf(const struct buf *buf)
{
	return (struct slice){buf->data, buf->len};
}

/* ---- next ------------------------------------------------------------------------- */

static void write_options(const struct consume *consume, const char *request, int wait_ms, struct buf *out)
{
	const struct config *config = consume->config;

	buf_clear(out);
	buf_printf(out, "{\"max\":%" PRId64 ",\"waitMs\":%d,\"request\":\"%s\"", config->max, wait_ms, request);
	if (config->lease > 0)
		buf_printf(out, ",\"leaseMs\":%" PRId64, config->lease * 1000);
	buf_add_str(out, ",\"member\":");
	json_add_string(out, consume->member, strlen(consume->member));
	buf_add_str(out, "}");
}

/* Takes the reply, with its text. */
static void take_claim(struct consume *consume, struct consume_claim *claim)
{
	struct buf text = claim->text;
	struct slice reply;
	int64_t number;

	claim->text = consume->reply;
	consume->reply = text;
	reply = json_trim(slice_of_buf(&claim->text));
	claim->number = 0;
	claim->messages = cli_member(reply, "messages");
	claim->retries = cli_member(reply, "retries");
	claim->kept_ms = clock_ms();
	if (json_kind(cli_member(reply, "claim")) != JSON_NUMBER || json_kind(claim->messages) != JSON_ARRAY ||
		!json_integer(cli_member(reply, "claim"), &number))
		return;
	claim->number = number;
	claim->lease_ms = json_integer(cli_member(reply, "leaseMs"), &number) ? (uint64_t)number : 1000;
	claim->care_ms = claim->lease_ms / 3;
}

/*
 * What is called off may have been answered: the same request gets the same claim, or one that is not needed
 * either.
 */
static void give_back(struct consume *consume, const char *request)
{
	struct consume_claim claim = {0};
	struct buf options = {0};
	int64_t none = 0;

	write_options(consume, request, 0, &options);
	if (consume_call(consume, "next", slice_of_buf(&options), &consume_ending) == CONSUME_DONE)
		take_claim(consume, &claim);
	if (claim.number > 0)
		consume_settle(consume, &claim, slice_of(""), &none);
	buf_free(&options);
	buf_free(&claim.text);
}

enum consume_result consume_next(struct consume *consume, struct consume_claim *claim)
{
	const struct config *config = consume->config;
	struct uuid id = uuid_new(&consume->ids);
	char request[UUID_TEXT_LEN + 1];
	struct buf options = {0};
	enum consume_result result;

	uuid_format(&id, request);
	write_options(consume, request, config->once ? 0 : WAIT_MS, &options);
	result = consume_call(consume, "next", slice_of_buf(&options),
						  config->once ? &consume_minute : &consume_patient);
	if (result == CONSUME_DONE)
		take_claim(consume, claim);
	else if (result == CONSUME_STOPPED)
		give_back(consume, request);
	buf_free(&options);
	return result;
}

/* ---- the lease -------------------------------------------------------------------- */

int consume_lease_wait(const struct consume_claim *claim)
{
	uint64_t passed = clock_span(claim->kept_ms, clock_ms());

	return passed >= claim->care_ms ? 0 : (int)(claim->care_ms - passed);
}

bool consume_keep(struct consume *consume, struct consume_claim *claim)
{
	const struct consume_patience patience = {.answer_ms = EXTEND_MS, .finish = true};
	struct buf options = {0};
	enum consume_result result;

	if (consume_lease_wait(claim) > 0)
		return true;
	buf_printf(&options, "{\"claim\":%" PRId64 ",\"leaseMs\":%" PRIu64 "}", claim->number, claim->lease_ms);
	result = consume_call(consume, "extend", slice_of_buf(&options), &patience);
	claim->kept_ms = clock_ms();
	claim->care_ms = claim->lease_ms / 3;
	if (result != CONSUME_DONE && claim->care_ms > AGAIN_MS)
		claim->care_ms = AGAIN_MS;
	buf_free(&options);
	return result != CONSUME_LOST;
}

/* ---- the end ---------------------------------------------------------------------- */

enum consume_result consume_settle(struct consume *consume, const struct consume_claim *claim,
								   struct slice failed, const int64_t *up_to)
{
	struct buf options = {0};
	enum consume_result result;

	buf_printf(&options, "{\"claim\":%" PRId64, claim->number);
	if (failed.len > 0)
		buf_printf(&options, ",\"failed\":[%.*s]", (int)failed.len, failed.bytes);
	if (up_to != NULL)
		buf_printf(&options, ",\"upTo\":%" PRId64, *up_to);
	buf_add_str(&options, "}");
	result = consume_call(consume, "settle", slice_of_buf(&options),
						  consume_stopping() ? &consume_ending : &consume_patient);
	/* Whether that was done is not known: it is said once more. */
	if (result == CONSUME_STOPPED)
		result = consume_call(consume, "settle", slice_of_buf(&options), &consume_ending);
	buf_free(&options);
	return result;
}

/* ---- messages --------------------------------------------------------------------- */

void consume_read_message(struct slice array, struct consume_message *message)
{
	struct slice *fields[] = {
		&message->id,	&message->stream,	&message->type, &message->position, &message->global_position,
		&message->data, &message->metadata, &message->time};
	struct json_iterator iterator;

	memset(message, 0, sizeof(*message));
	if (json_kind(array) != JSON_ARRAY)
		return;
	json_iterate(&iterator, array);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		if (!json_next_element(&iterator, fields[i]))
			return;
	}
}

void consume_add_line(struct buf *out, const struct consume_message *message)
{
	const struct
	{
		const char *name;
		struct slice value;
	} fields[] = {
		{"{\"id\":", message->id},
		{",\"stream\":", message->stream},
		{",\"type\":", message->type},
		{",\"pos\":", message->position},
		{",\"gpos\":", message->global_position},
		{",\"data\":", message->data},
		{",\"meta\":", message->metadata},
		{",\"time\":", message->time},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		buf_add_str(out, fields[i].name);
		buf_add(out, fields[i].value.bytes, fields[i].value.len);
	}
	buf_add_str(out, "}\n");
}

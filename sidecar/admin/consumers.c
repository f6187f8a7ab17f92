/*
 * admin_consumers: what /metrics says of consumers (see consumers.h).
 *
 * To tell how far a consumer is behind, its messages are counted, up to 10,000.  So the time is bounded, and
 * the number of those that are named with it.
 */
#include "admin/consumers.h"

#include <string.h>

#define MAX_CONSUMERS_SHOWN 100
#define MAX_MS 250

static const char *const states[CONSUMER_STATES] = {"running", "paused", "stopped"};

/* The state, and then one for each enum db_consumer_figure. */
static const struct
{
	const char *name, *help;
} families[CONSUMER_FAMILIES] = {
	{"millrace_consumer_state", "1 for the state that a consumer is in, 0 for the others."},
	{"millrace_consumer_ceiling_position", "Global position up to which messages were handed out."},
	{"millrace_consumer_floor_position", "Global position up to which every message is settled."},
	{"millrace_consumer_lag_messages",
	 "Messages that are not settled, exact up to 10000; without those of parked streams."},
	{"millrace_consumer_lag_seconds",
	 "Age of the oldest message that is not settled, 0 for none; with those of parked streams."},
	{"millrace_consumer_in_flight_messages", "Messages in open claims."},
	{"millrace_consumer_oldest_claim_age_seconds", "Age of the oldest open claim, 0 for none."},
	{"millrace_consumer_retrying_streams", "Streams whose first message failed and will come again."},
	{"millrace_consumer_parked_streams", "Streams that were given up until an operator unparks them."},
};

void admin_add_label(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++)
	{
		if (*text == '\n')
			buf_add_str(out, "\\n");
		else
		{
			if (*text == '"' || *text == '\\')
				buf_add_str(out, "\\");
			buf_add(out, text, 1);
		}
	}
}

bool consumer_metrics_ask(struct db *db, db_query_done done, void *arg)
{
	return db_consumer_metrics(db, MAX_CONSUMERS_SHOWN, MAX_MS, done, arg);
}

/* name{namespace="...",consumer="..." */
static void begin_line(struct buf *out, const char *name, const struct db_consumer_status *status)
{
	buf_printf(out, "%s{namespace=\"", name);
	admin_add_label(out, status->namespace_name);
	buf_add_str(out, "\",consumer=\"");
	admin_add_label(out, status->consumer);
	buf_add_str(out, "\"");
}

static void take_consumer(struct consumer_metrics *metrics, const struct db_consumer_status *status)
{
	for (unsigned i = 0; i < CONSUMER_STATES; i++)
	{
		begin_line(&metrics->lines[0], families[0].name, status);
		buf_printf(&metrics->lines[0], ",state=\"%s\"} %d\n", states[i],
				   strcmp(status->state, states[i]) == 0);
	}
	for (unsigned i = 0; i < CONSUMER_FIGURES; i++)
	{
		const char *figure = status->figures[i];

		begin_line(&metrics->lines[1 + i], families[1 + i].name, status);
		buf_printf(&metrics->lines[1 + i], "} %s\n", figure[0] != '\0' ? figure : "0");
	}
}

void consumer_metrics_take(struct consumer_metrics *metrics, const struct db_reply *reply)
{
	metrics->known = true;
	for (unsigned i = 0; i < db_rows_of(reply); i++)
	{
		const struct db_consumer_status status = db_consumer_status_of(reply, i);

		if (status.namespace_name == NULL)
		{
			metrics->more = true;
			return;
		}
		metrics->shown++;
		take_consumer(metrics, &status);
	}
}

void consumer_metrics_write(struct buf *out, const struct consumer_metrics *metrics)
{
	if (metrics == NULL)
		return;
	buf_printf(out,
			   "# HELP millrace_consumers_shown Consumers that are told of here.\n"
			   "# TYPE millrace_consumers_shown gauge\nmillrace_consumers_shown %u\n"
			   "# HELP millrace_consumers_left_out 1: there are more consumers than are told of here.\n"
			   "# TYPE millrace_consumers_left_out gauge\nmillrace_consumers_left_out %d\n",
			   metrics->shown, metrics->more);
	for (unsigned i = 0; i < CONSUMER_FAMILIES; i++)
	{
		buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n", families[i].name, families[i].help,
				   families[i].name);
		if (!metrics->lines[i].failed)
			buf_add(out, metrics->lines[i].data, metrics->lines[i].len);
	}
}

void consumer_metrics_free(struct consumer_metrics *metrics)
{
	for (unsigned i = 0; i < CONSUMER_FAMILIES; i++)
		buf_free(&metrics->lines[i]);
}

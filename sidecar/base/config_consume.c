/*
 * config_consume.c: the settings of `millrace consume`, and what --help says of it (see config_internal.h).
 */
#include "base/config_internal.h"

const struct setting config_consume_settings[CONFIG_CONSUME_SETTINGS] = {
	SERVER_SETTINGS,

	{"consumer", "What", TEXT(consumer, NULL), .value = "NAME",
	 .help = "the consumer; the same as its name without a flag"},
	{"max", "What", NUMBER(max, NUMBER, 100, 1, 1000), .value = "N",
	 .help = "messages that are claimed together"},
	{"lease", "What", NUMBER(lease, SECONDS, 0, 0, 43200), .value = "SECONDS",
	 .help = "how long a claim is ours without a sign of life; 0: as the consumer has it"},
	{"member", "What", TEXT(member, NULL), .value = "NAME",
	 .help = "what this one is called where claims are shown (default: the host's name and the process id)"},
	{"once", "What", .type = SETTING_SWITCH, .offset = offsetof(struct config, once),
	 .help = "end when there is nothing to do for now, instead of waiting"},

	{"exec", "Where to", TEXT(exec, NULL), .value = "COMMAND",
	 .help = "run this in a shell for each message, instead of printing it"},
};

const char config_consume_usage[] =
	"millrace consume [--url URL] [--ca-file FILE] [--token TOKEN | --token-file FILE]\n"
	"                   [--max N] [--lease SECONDS] [--member NAME] [--once] [--exec COMMAND] CONSUMER";

const char config_consume_description[] =
	"Claims messages of a consumer, which exists already, prints them as `millrace export` does, one\n"
	"object a line, and settles a claim when the reader has taken all its lines: out of the pipe, if the\n"
	"output is one; when they are on disk, if it is a file. At least once: what was not settled comes\n"
	"again. What the reader does with a line later is its own: where that must count, use --exec.\n"
	"\n"
	"With --exec each message is the standard input of a command, for which MILLRACE_CONSUMER,\n"
	"MILLRACE_STREAM, MILLRACE_TYPE, MILLRACE_POSITION, MILLRACE_GLOBAL_POSITION and MILLRACE_ATTEMPT,\n"
	"which is 1 at first, are set. One command runs at a time, in the order of the messages. The\n"
	"command's exit status decides:\n"
	"\n"
	"  0                            done: the message is settled\n"
	"  65                           the message can't be dealt with: its stream is parked\n"
	"  75, any other, or a signal   failed: it comes again, later\n"
	"  126, 127                     the command can't be run: ends, and gives back what is not done\n"
	"\n"
	"The rest of a failed message's stream waits for it; other streams go on.\n";

const char config_consume_notes[] =
	"\n"
	"A flag may have one dash or two, and its value behind it or behind a =.\n"
	"Every flag is also an environment variable: --url is MILLRACE_URL. Flags beat the environment, the\n"
	"environment beats defaults.\n"
	"\n"
	"While the server is away it is asked again and again, with --once for a minute.\n"
	"\n"
	"Signals:\n"
	"  SIGTERM, SIGINT              send SIGTERM to the command, wait for it, give back what is not "
	"done, end;\n"
	"                               a second one ends at once\n"
	"\n"
	"Exit status:\n"
	"  0 ended as asked: by a signal, with --once, or as the reader has gone; 1 it failed: stderr says\n"
	"  why; 2 wrong usage\n"
	"\n"
	"Examples:\n"
	"  millrace consume billing --exec './charge.sh'\n"
	"  millrace consume audit --once >> audit.ndjson\n"
	"  millrace consume mails --max 10 | jq --unbuffered -r .data.address\n";

bool config_check_consume(const struct config *config)
{
	if (config->consumer != NULL)
		return true;
	fputs("millrace: which consumer? millrace consume CONSUMER\n", stderr);
	return false;
}

/*
 * load_options.c: the command line.
 */
#define _GNU_SOURCE

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define MAX_WORKERS 10000
#define MAX_SIZE (16 << 20)

struct options options = {
	.url = "http://127.0.0.1:8080",
	.token = "",
	.output = "load-test-results.json",
	.durable = "unknown",
	.duration = 30,
	.warmup = 1,
	.workers = 10,
	.streams = 100,
	.size = 300,
	.write_share = 9,
	.read_share = 1,
	.prefix = "load",
};

static long number_between(const char *name, const char *text, long low, long high)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < low || value > high)
		fail("--%s must be a number from %ld to %ld, not %s", name, low, high, text);
	return value;
}

static double seconds_of(const char *name, const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (*text == '\0' || *end != '\0' || !(value >= 0 && value <= 1e6))
		fail("--%s must be a number of seconds, not %s", name, text);
	return value;
}

/* Text that goes into the JSON as it is. */
static const char *plain_text(const char *name, const char *text)
{
	if (strpbrk(text, "\"\\\r\n") != NULL)
		fail("--%s: no quotes, backslashes or line ends", name);
	return text;
}

static void parse_mix(const char *text)
{
	char rest;

	if (sscanf(text, "%u:%u%c", &options.write_share, &options.read_share, &rest) != 2 ||
		options.write_share > 1000000 || options.read_share > 1000000 ||
		options.write_share + options.read_share == 0)
		fail("--mix must be writes:reads, such as 9:1, not %s", text);
}

static enum tags tags_of(const char *text)
{
	static const char *const names[] = {"none", "only", "conditional", "race"};

	for (int i = 0; i < 4; i++)
		if (strcmp(text, names[i]) == 0)
			return (enum tags)i;
	fail("--tags must be none, only, conditional or race, not %s", text);
}

static const char *prefix_of(const char *text)
{
	if (*text == '\0' || strlen(text) > MAX_PREFIX)
		fail("--prefix must have 1 to %d bytes, not %zu", MAX_PREFIX, strlen(text));
	return plain_text("prefix", text);
}

static void usage(void)
{
	printf(
		"usage: load [--url http://host:port] [--token T] [--duration s] [--warmup s] [--workers n]\n"
		"            [--streams n] [--mix writes:reads] [--size bytes] [--rate n] [--durable yes|no]\n"
		"            [--output file]\n"
		"            [--category n]  reads are 1000 messages of the category, from a random position up "
		"to n\n"
		"            [--tags none|only|conditional|race] [--prefix text]  of tags: each write has one of its "
		"own,\n"
		"            on condition that nothing has it; or reads by one tag and writes on condition take "
		"turns\n"
		"defaults: %s, %.0f s after %.0f s of warm-up, %ld workers, %ld streams,\n"
		"          9:1, %ld bytes, %s\n",
		options.url, options.duration, options.warmup, options.workers, options.streams, options.size,
		options.output);
	exit(0);
}

static void set_rare_option(int letter, const char *text)
{
	switch (letter)
	{
		case 'c':
			options.category = number_between("category", text, 1, 1000000000);
			break;
		case 'g':
			options.tags = tags_of(text);
			break;
		case 'p':
			options.prefix = prefix_of(text);
			break;
		case 'D':
			options.durable = plain_text("durable", text);
			break;
		case 'h':
			usage();
			break;
		default:
			exit(2);
	}
}

static void set_option(int letter, const char *text)
{
	switch (letter)
	{
		case 'u':
			options.url = text;
			break;
		case 't':
			options.token = plain_text("token", text);
			break;
		case 'o':
			options.output = text;
			break;
		case 'd':
			options.duration = seconds_of("duration", text);
			break;
		case 'W':
			options.warmup = seconds_of("warmup", text);
			break;
		case 'w':
			options.workers = number_between("workers", text, 1, MAX_WORKERS);
			break;
		case 's':
			options.streams = number_between("streams", text, 1, 1000000000);
			break;
		case 'b':
			options.size = number_between("size", text, SIZE_AROUND_TEXT, MAX_SIZE);
			break;
		case 'm':
			parse_mix(text);
			break;
		case 'r':
			options.rate = number_between("rate", text, 1, 10000000);
			break;
		default:
			set_rare_option(letter, text);
	}
}

void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"url", required_argument, NULL, 'u'},	   {"token", required_argument, NULL, 't'},
		{"output", required_argument, NULL, 'o'},  {"duration", required_argument, NULL, 'd'},
		{"warmup", required_argument, NULL, 'W'},  {"workers", required_argument, NULL, 'w'},
		{"streams", required_argument, NULL, 's'}, {"size", required_argument, NULL, 'b'},
		{"mix", required_argument, NULL, 'm'},	   {"durable", required_argument, NULL, 'D'},
		{"rate", required_argument, NULL, 'r'},	   {"category", required_argument, NULL, 'c'},
		{"tags", required_argument, NULL, 'g'},	   {"prefix", required_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},		   {NULL, 0, NULL, 0},
	};
	int index = 0;
	int letter;

	while ((letter = getopt_long(argc, argv, "", known, &index)) != -1)
		set_option(letter, optarg);
	if (optind < argc)
		fail("surplus argument %s", argv[optind]);
}

/*
 * config_retention.c: the settings of `millrace archive` and `millrace purge`, and what --help says of them
 * (see config_internal.h).
 */
#include <string.h>

#include "base/config_internal.h"
#include "base/timestamp.h"

#include "extension/protocol.h"

const struct setting config_archive_settings[CONFIG_ARCHIVE_SETTINGS] = {
	SERVER_SETTINGS,

	{"category", "What", TEXT(category, NULL), .value = "CATEGORY", .help = "messages of this category"},
	{"before", "What", TEXT(before, NULL), .value = "TIME",
	 .help =
		 "those in front of the first that is not before that time, as 2025-01-31T12:00:00Z or 2025-01-31"},

	{"output", "Where to", TEXT(output, NULL), .value = "FILE",
	 .help = "written whole or not at all, never over another file"},
	{"gzip", "Where to", .type = SETTING_SWITCH, .offset = offsetof(struct config, gzip),
	 .help = "compress it with gzip"},

	{"remove", "Then", .type = SETTING_SWITCH, .offset = offsetof(struct config, remove),
	 .help = "remove what the file has from the namespace", .flag_only = true},
	{"force", "Then", .type = SETTING_SWITCH, .offset = offsetof(struct config, force),
	 .help = "also what consumers have not read yet", .flag_only = true},
};

const char config_archive_usage[] =
	"millrace archive [--url URL] [--ca-file FILE] [--token TOKEN | --token-file FILE]\n"
	"                   --category CATEGORY --before TIME --output FILE [--gzip] [--remove [--force]]";

const char config_archive_description[] =
	"Writes the oldest messages of a category to a file, as `millrace export` does, between a line that\n"
	"says what they are and one with their number and the SHA-256 of all before it, which `millrace import`\n"
	"checks when it brings them back.\n"
	"\n"
	"With --remove they are then removed from the namespace, a thousand at a time, each only if what is\n"
	"stored is what the file has. It may be stopped anywhere and run again: where the file is there\n"
	"already, whole and of the same category and time, it goes on with what is still stored.\n";

const char config_archive_notes[] =
	"\n"
	"A flag may have one dash or two, and its value behind it or behind a =.\n"
	"Every flag but --remove and --force is also an environment variable: --url is MILLRACE_URL. Flags\n"
	"beat the environment, the environment beats defaults.\n"
	"\n"
	"Exit status:\n"
	"  0 all of it was done; 1 it failed: stderr says why; 2 wrong usage\n"
	"\n"
	"Examples:\n"
	"  millrace archive --category order --before 2025-01-01 --output order-2024.ndjson\n"
	"  millrace archive --category order --before 2025-01-01 --output order-2024.ndjson --remove\n"
	"  millrace import --input order-2024.ndjson\n";

const struct setting config_purge_settings[CONFIG_PURGE_SETTINGS] = {
	SERVER_SETTINGS,

	{"namespace", "What", TEXT(namespace_name, DEFAULT_NAMESPACE), .value = "NAME",
	 .help = "of this namespace"},
	{"full", "What", .type = SETTING_SWITCH, .offset = offsetof(struct config, full),
	 .help = "write the tables anew, which keeps others out of them meanwhile", .flag_only = true},
};

const char config_purge_usage[] =
	"millrace purge [--url URL] [--ca-file FILE] [--token TOKEN | --token-file FILE]\n"
	"                 [--namespace NAME] [--full]";

const char config_purge_description[] =
	"Frees what removed and redacted messages of a namespace have left in the database's files, and says\n"
	"what is left of them, and where. The token is the administrator's.\n";

const char config_purge_notes[] =
	"\n"
	"Exit status:\n"
	"  0 it was done, whatever is left; 1 it failed: stderr says why; 2 wrong usage\n"
	"\n"
	"Examples:\n"
	"  millrace purge\n"
	"  millrace purge --namespace shop --full\n";

bool config_check_archive(const struct config *config)
{
	int64_t before;

	if (config->category == NULL)
		return config_complain(
			"which category? millrace archive --category CATEGORY --before TIME --output FILE");
	if (config->before == NULL)
		return config_complain("before which time? millrace archive --before TIME");
	if (!timestamp_parse_loosely((struct slice){config->before, strlen(config->before)}, &before))
		return config_complain("--before must be a time like 2025-01-31T12:00:00Z or a date like 2025-01-31");
	if (config->output == NULL || strcmp(config->output, "-") == 0)
		return config_complain("where to? --output must name a file");
	if (config->force && !config->remove)
		return config_complain("--force is for --remove: without it nothing is removed");
	if (memchr(config->category, '-', strlen(config->category)) != NULL)
		return config_complain("--category has a dash, which no category has");
	return true;
}

/*
 * config_move.c: the settings of `millrace move`, and what --help says of them (see config_internal.h).
 */
#include <string.h>

#include "base/config_internal.h"

#include "extension/protocol.h"

const struct setting config_move_settings[CONFIG_MOVE_SETTINGS] = {
	{"namespace", "What", TEXT(namespace_name, NULL), .value = "NAME", .help = "this namespace"},
	{"to", "What", TEXT(to, NULL), .value = "CLUSTER",
	 .help = "to this cluster, by its name in the directory"},

	{"directory", "Where", TEXT(directory, NULL), .value = "CONNINFO",
	 .help = "the database with the directory of clusters", .secret = true},
	{"source-database", "Where", TEXT(source_database, NULL), .value = "CONNINFO",
	 .help = "the cluster that it is on, as a superuser (default: as the directory says)", .secret = true},
	{"target-database", "Where", TEXT(target_database, NULL), .value = "CONNINFO",
	 .help = "the cluster that it goes to, likewise", .secret = true},

	{"start", "Step", .type = SETTING_SWITCH, .offset = offsetof(struct config, start),
	 .help = "copy it, and let the copy follow", .flag_only = true},
	{"switch", "Step", .type = SETTING_SWITCH, .offset = offsetof(struct config, switch_over),
	 .help = "go on with the copy; what is written there goes back to the old one", .flag_only = true},
	{"reverse", "Step", .type = SETTING_SWITCH, .offset = offsetof(struct config, reverse),
	 .help = "give up the copy; after --switch: go back, with all that was written since", .flag_only = true},
	{"finish", "Step", .type = SETTING_SWITCH, .offset = offsetof(struct config, finish),
	 .help = "after --switch: drop the old one", .flag_only = true},

	{"max-pause", "Step", NUMBER(max_pause, SECONDS, 10, 1, 3600), .value = "SECONDS",
	 .help = "how long writes may wait at the switch; beyond it, it is taken back"},
};

const char config_move_usage[] =
	"millrace move NAMESPACE --directory CONNINFO [--to CLUSTER] [--max-pause SECONDS]\n"
	"                [--source-database CONNINFO] [--target-database CONNINFO]\n"
	"                [--start | --switch | --reverse | --finish]";

const char config_move_description[] =
	"Takes a namespace to another cluster of the directory while it is read and written: copied by logical\n"
	"replication, sealed for a moment, compared, and gone on with there, with the same ids and positions,\n"
	"consumers, tokens and policies. Without a step all are taken, --start, --switch, --finish.\n"
	"\n"
	"Every step may be stopped anywhere, by kill -9 too, and run again.\n";

const char config_move_notes[] =
	"\n"
	"A flag may have one dash or two, and its value behind it or behind a =.\n"
	"Every flag that has a value is also an environment variable: --directory is MILLRACE_DIRECTORY. Flags\n"
	"beat the environment, the environment beats defaults.\n"
	"\n"
	"Exit status:\n"
	"  0 it was done; 1 it failed: stderr says why; 2 wrong usage\n"
	"\n"
	"Examples:\n"
	"  millrace move shop --to eu2 --directory 'host=directory dbname=millrace'\n"
	"  millrace move shop --to eu2 --start\n"
	"  millrace move shop --switch\n";

bool config_check_move(const struct config *config)
{
	int steps = config->start + config->switch_over + config->reverse + config->finish;

	if (config->namespace_name == NULL)
		return config_complain("which namespace? millrace move NAMESPACE --to CLUSTER");
	if (config->directory == NULL)
		return config_complain("where is the directory of clusters? millrace move --directory CONNINFO");
	if (steps > 1)
		return config_complain(
			"--start, --switch, --reverse and --finish are one step each: which is meant?");
	if (config->to == NULL && (steps == 0 || config->start))
		return config_complain("where to? millrace move --to CLUSTER");
	return true;
}

/*
 * config_flag.c: flags (see config_internal.h).
 */
#include <string.h>

#include "base/config_internal.h"

/* Levenshtein's distance, for "did you mean"; names are short. */
static unsigned distance(const char *a, size_t alen, const char *b)
{
	unsigned row[NAME_MAX_LEN + 1];
	size_t blen = strlen(b);

	if (alen > NAME_MAX_LEN || blen > NAME_MAX_LEN)
		return NAME_MAX_LEN;
	for (size_t j = 0; j <= blen; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= alen; i++)
	{
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= blen; j++)
		{
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[blen];
}

/* `flag` with its dashes, as it was written; the first `len` bytes of `name` are its name. */
static void complain_unknown(const struct command *command, const char *flag, const char *name, size_t len)
{
	const char *nearest = NULL;
	unsigned best = 3;

	for (size_t i = 0; i < command->nsettings; i++)
	{
		unsigned d = distance(name, len, command->settings[i].name);

		if (d < best)
		{
			best = d;
			nearest = command->settings[i].name;
		}
	}
	fprintf(stderr, "millrace: there is no flag %.*s", (int)(name - flag + (ptrdiff_t)len), flag);
	/* EventoDB has it. */
	if (command->number == COMMAND_SERVE && len == strlen("db-url") && memcmp(name, "db-url", len) == 0)
		fprintf(stderr, "; --database takes a PostgreSQL connection string or URI\n");
	else if (nearest != NULL)
		fprintf(stderr, "; did you mean --%s?\n", nearest);
	else
		fprintf(stderr, "; `millrace help %s` lists them all\n", command->name);
}

static const struct setting *find_setting(const struct command *command, const char *name, size_t len)
{
	for (size_t i = 0; i < command->nsettings; i++)
	{
		const struct setting *setting = &command->settings[i];

		if (strlen(setting->name) == len && memcmp(setting->name, name, len) == 0)
			return setting;
	}
	return NULL;
}

/* Of what may stand without a flag there is one: a second is a slip, as a value whose flag is missing. */
static bool check_first(const struct config *config, const struct command *command,
						const struct setting *setting, const char *value)
{
	if (command->argument == NULL || strcmp(setting->name, command->argument) != 0 ||
		config->sources[setting - command->settings] != SOURCE_FLAG)
		return true;
	fprintf(stderr, "millrace: unexpected \"%s\": there is one %s already\n", value, setting->name);
	return false;
}

bool config_take_flag(struct config *config, const struct command *command, int argc, char **argv, int *at)
{
	const char *flag = argv[*at];
	const char *name = flag + (flag[1] == '-' ? 2 : 1);
	size_t len = strcspn(name, "=");
	const char *value = name[len] == '=' ? name + len + 1 : NULL;
	const struct setting *setting = find_setting(command, name, len);
	char source[NAME_MAX_LEN + 4];

	if (setting == NULL)
	{
		complain_unknown(command, flag, name, len);
		return false;
	}
	if (value == NULL && setting->type == SETTING_SWITCH)
		value = "true";
	if (value == NULL && *at + 1 < argc)
		value = argv[++*at];
	if (value == NULL)
	{
		fprintf(stderr, "millrace: --%s wants a value: --%s %s\n", setting->name, setting->name,
				setting->value);
		return false;
	}
	snprintf(source, sizeof(source), "--%s", setting->name);
	if (!check_first(config, command, setting, value) || !config_set(config, setting, source, value))
		return false;
	config->sources[setting - command->settings] = SOURCE_FLAG;
	return true;
}

bool config_take_argument(struct config *config, const struct command *command, const char *value)
{
	const struct setting *setting = find_setting(command, command->argument, strlen(command->argument));

	if (!check_first(config, command, setting, value) || !config_set(config, setting, setting->name, value))
		return false;
	config->sources[setting - command->settings] = SOURCE_FLAG;
	return true;
}

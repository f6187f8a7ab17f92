/*
 * config_help.c: what --help says about a command (see config_internal.h).
 */
#include <string.h>

#include "base/config_internal.h"

#define HELP_COLUMN 31 /* where explanations begin */
#define HELP_WIDTH 100

/* Prints text in the column of explanations, broken at blanks. */
static void print_wrapped(FILE *out, const char *text)
{
	int column = HELP_COLUMN;

	while (*text != '\0')
	{
		int len = (int)strcspn(text, " ");

		if (column > HELP_COLUMN && column + len >= HELP_WIDTH)
		{
			fprintf(out, "\n%*s", HELP_COLUMN, "");
			column = HELP_COLUMN;
		}
		column += fprintf(out, "%s%.*s", column > HELP_COLUMN ? " " : "", len, text);
		text += len + (text[len] == ' ');
	}
	fputc('\n', out);
}

static void help_setting(FILE *out, const struct setting *setting)
{
	char flag[2 * NAME_MAX_LEN];
	char standard[32] = "";
	char text[500];
	const char *value = standard;

	snprintf(flag, sizeof(flag), "--%s%s%s", setting->name, setting->value ? " " : "",
			 setting->value ? setting->value : "");
	if (setting->type == SETTING_TEXT && setting->text != NULL)
		value = setting->text;
	else if (setting->type != SETTING_TEXT && setting->type != SETTING_SWITCH)
		config_format_number(setting, setting->number, standard, sizeof(standard));
	snprintf(text, sizeof(text), value[0] != '\0' ? "%s (default: %s)" : "%s", setting->help, value);
	fprintf(out, "  %-*s", HELP_COLUMN - 2, flag);
	print_wrapped(out, text);
}

void config_help(FILE *out, const struct command *command)
{
	const char *subject = "";

	fprintf(out, "millrace %s: %s\n\nUsage:\n  %s\n\n%s", command->name, command->summary, command->usage,
			command->description);
	for (size_t i = 0; i < command->nsettings; i++)
	{
		const struct setting *setting = &command->settings[i];

		if (strcmp(subject, setting->subject) != 0)
		{
			subject = setting->subject;
			fprintf(out, "\n%s:\n", subject);
		}
		help_setting(out, setting);
	}
	fputs(command->notes, out);
}

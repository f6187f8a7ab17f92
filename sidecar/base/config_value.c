/*
 * config_value.c: the values of settings, from text and to text (see config_internal.h).
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_internal.h"

void config_format_bytes(int64_t bytes, char *out, size_t size)
{
	if (bytes >= GIB && bytes % GIB == 0)
		snprintf(out, size, "%" PRId64 "G", bytes / GIB);
	else if (bytes >= MIB && bytes % MIB == 0)
		snprintf(out, size, "%" PRId64 "M", bytes / MIB);
	else if (bytes >= KIB && bytes % KIB == 0)
		snprintf(out, size, "%" PRId64 "k", bytes / KIB);
	else
		snprintf(out, size, "%" PRId64, bytes);
}

void config_format_number(const struct setting *setting, int64_t number, char *out, size_t size)
{
	if (setting->type == SETTING_BYTES)
		config_format_bytes(number, out, size);
	else
		snprintf(out, size, "%" PRId64, number);
}

/* Reads a whole number, for bytes with k, M or G behind it; false when it isn't one. */
static bool read_number(const char *text, bool bytes, int64_t *number)
{
	int64_t unit = 1;
	char *end;

	errno = 0;
	*number = strtoll(text, &end, 10);
	if (end == text || errno != 0 || isspace((unsigned char)text[0]))
		return false;
	if (bytes && *end != '\0')
	{
		unit = *end == 'k' || *end == 'K' ? KIB : *end == 'M' ? MIB : *end == 'G' ? GIB : 0;
		end++;
		if (unit == 0 || *number > INT64_MAX / unit || *number < 0)
			return false;
	}
	*number *= unit;
	return *end == '\0';
}

static bool read_switch(const char *text, bool *on)
{
	static const char yes[] = "|true|t|on|yes|1|";
	static const char no[] = "|false|f|off|no|0|";
	char word[16];

	if (strlen(text) > 8 || strchr(text, '|') != NULL)
		return false;
	snprintf(word, sizeof(word), "|%s|", text);
	*on = strcasestr(yes, word) != NULL;
	return *on || strcasestr(no, word) != NULL;
}

static bool set_number(struct config *config, const struct setting *setting, const char *source,
					   const char *text)
{
	int64_t *field = (int64_t *)((char *)config + setting->offset);
	char low[32], high[32];
	int64_t number;

	if (!read_number(text, setting->type == SETTING_BYTES, &number))
	{
		fprintf(stderr, "millrace: %s: \"%s\" is not a whole number%s\n", source, text,
				setting->type == SETTING_BYTES ? " of bytes (k, M or G may follow it)" : "");
		return false;
	}
	if (number < setting->min || number > setting->max)
	{
		config_format_number(setting, setting->min, low, sizeof(low));
		config_format_number(setting, setting->max, high, sizeof(high));
		fprintf(stderr, "millrace: %s: %s is out of range (%s to %s)\n", source, text, low, high);
		return false;
	}
	*field = number;
	return true;
}

static bool set_text(struct config *config, const struct setting *setting, const char *source,
					 const char *text)
{
	const char **field = (const char **)((char *)config + setting->offset);
	char word[NAME_MAX_LEN];

	if (setting->none && strcmp(text, "none") == 0)
		text = "";
	if (text[0] == '\0' && !setting->optional)
	{
		fprintf(stderr, "millrace: %s is empty: leave it out, or give it a value\n", source);
		return false;
	}
	snprintf(word, sizeof(word), "|%s|", text);
	if (setting->words != NULL &&
		(strlen(text) > 16 || strchr(text, '|') || strstr(setting->words, word) == NULL))
	{
		fprintf(stderr, "millrace: %s: \"%s\" is none of %.*s\n", source, text,
				(int)strlen(setting->words) - 2, setting->words + 1);
		return false;
	}
	/* What a setting is read from is ours to write to. */
	if (setting->secret)
		return config_take_secret(field, (char *)text);
	*field = text;
	return true;
}

bool config_set(struct config *config, const struct setting *setting, const char *source, const char *text)
{
	switch (setting->type)
	{
		case SETTING_NUMBER:
		case SETTING_SECONDS:
		case SETTING_BYTES:
			return set_number(config, setting, source, text);
		case SETTING_TEXT:
			return set_text(config, setting, source, text);
		case SETTING_SWITCH:
			if (read_switch(text, (bool *)((char *)config + setting->offset)))
				return true;
			fprintf(stderr, "millrace: %s: \"%s\" is neither true nor false\n", source, text);
			return false;
	}
	return false;
}

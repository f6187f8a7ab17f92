/*
 * config_secret.c: secrets that come as settings are kept out of sight (see config_internal.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config_internal.h"

#define MAX_SECRET 4096

void config_blot(char *text)
{
	memset(text, 'x', strlen(text));
}

bool config_take_secret(const char **field, char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
	{
		fputs("millrace: out of memory\n", stderr);
		return false;
	}
	config_blot(text);
	free((char *)*field);
	*field = copy;
	return true;
}

static void forget(const char **secret)
{
	char *text = (char *)*secret;

	if (text != NULL)
		explicit_bzero(text, strlen(text));
	free(text);
	*secret = NULL;
}

void config_free(struct config *config)
{
	forget(&config->token);
	forget(&config->database);
	forget(&config->read_database);
	forget(&config->directory);
	forget(&config->source_database);
	forget(&config->target_database);
}

/* Reads a file of one line; NULL: *reason says why not. */
static char *read_line(const char *file, const char **reason)
{
	char text[MAX_SECRET + 1];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text));

	*reason = strerror(errno);
	if (fd >= 0)
		close(fd);
	if (len < 0)
		return NULL;
	while (len > 0 && strchr("\r\n", text[len - 1]) != NULL)
		len--;
	text[len < MAX_SECRET ? len : MAX_SECRET] = '\0';
	*reason = "it is not one line";
	if (len == 0 || len > MAX_SECRET || strlen(text) != (size_t)len || strpbrk(text, "\r\n") != NULL)
		return NULL;
	*reason = "out of memory";
	return strdup(text);
}

/*
 * A secret that may be in the file that another setting names.  Where both are given, the one that is a flag
 * is meant.
 */
static int read_secret_file(struct config *config, const struct command *command, const char *name,
							const char **secret, const char *file_name, const char **file)
{
	char written[VARIABLE_MAX], file_written[VARIABLE_MAX];
	enum setting_source source = config_source(config, command, name, written);
	enum setting_source file_source = config_source(config, command, file_name, file_written);
	const char *reason;

	if (*file != NULL && *secret != NULL && source == file_source)
	{
		config_refuse_both(written, file_written);
		return 2;
	}
	if (*file != NULL && source == SOURCE_FLAG)
		*file = NULL;
	if (*file == NULL)
		return -1;
	forget(secret);
	*secret = read_line(*file, &reason);
	if (*secret != NULL)
		return -1;
	fprintf(stderr, "millrace: %s %s: %s\n", file_written, *file, reason);
	return 2;
}

int config_read_secret_files(struct config *config, const struct command *command)
{
	int code = read_secret_file(config, command, "token", &config->token, "token-file", &config->token_file);

	if (code >= 0 || command->number != COMMAND_SERVE)
		return code;
	code = read_secret_file(config, command, "database", &config->database, "database-file",
							&config->database_file);
	if (code >= 0)
		return code;
	code = read_secret_file(config, command, "read-database", &config->read_database, "read-database-file",
							&config->read_database_file);
	if (code >= 0)
		return code;
	return read_secret_file(config, command, "directory", &config->directory, "directory-file",
							&config->directory_file);
}

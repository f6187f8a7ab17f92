/*
 * config_secret.c: secrets that come as settings are kept out of sight (see config_internal.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "config_internal.h"

#define MAX_SECRET 4096

bool config_take_secret(const char **field, char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
	{
		fputs("millrace: out of memory\n", stderr);
		return false;
	}
	memset(text, 'x', strlen(text));
	free((char *)*field);
	*field = copy;
	return true;
}

void config_free(struct config *config)
{
	char *token = (char *)config->token;

	if (token != NULL)
		explicit_bzero(token, strlen(token));
	free(token);
	config->token = NULL;
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
	*reason = "it is not one line with a token";
	if (len == 0 || len > MAX_SECRET || strlen(text) != (size_t)len || strpbrk(text, "\r\n") != NULL)
		return NULL;
	*reason = "out of memory";
	return strdup(text);
}

int config_read_token_file(struct config *config)
{
	const char *reason;

	if (config->token_file == NULL)
		return -1;
	if (config->token != NULL)
	{
		fputs("millrace: there is a token and a --token-file: which one is meant?\n", stderr);
		return 2;
	}
	config->token = read_line(config->token_file, &reason);
	if (config->token != NULL)
		return -1;
	fprintf(stderr, "millrace: --token-file %s: %s\n", config->token_file, reason);
	return 1;
}

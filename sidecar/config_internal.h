/*
 * config_internal: what config.c asks of config_secret.c; nobody else includes it.
 *
 * The list of processes shows every user the arguments of every program, and child processes inherit the environment.
 * So a secret is copied from where it came in, and what stays there is made illegible.
 */
#ifndef MILLRACE_CONFIG_INTERNAL_H
#define MILLRACE_CONFIG_INTERNAL_H

#include <stdbool.h>

struct config;

/* *field is NULL or an earlier secret.  Prints what is wrong. */
bool config_take_secret(const char **field, char *text);

/* Sets config->token from --token-file, if there is one; an exit code as config_parse. */
int config_read_token_file(struct config *config);

#endif

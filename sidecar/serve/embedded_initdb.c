/*
 * embedded_initdb: a cluster as initdb makes it, which includes our settings; see embedded_internal.h.
 */
#include <signal.h>
#include <stdio.h>

#include "serve/embedded_internal.h"

#define MAX_ARGS 16

char *const embedded_initdb_options[] = {
	"--username=postgres", "--auth=trust", /* only its own user can enter the folder of the socket */
	"--encoding=UTF8",	   "--locale=C",   "--data-checksums", "--no-instructions", NULL};

static bool run_initdb(const struct embedded *embedded, const char *where, bool sync, struct buf *error)
{
	char program[PATH_MAX];
	char pgdata[PATH_MAX + 64];
	char *argv[MAX_ARGS] = {program, pgdata};
	size_t argc = 2;

	for (size_t i = 0; embedded_initdb_options[i] != NULL; i++)
		argv[argc++] = embedded_initdb_options[i];
	if (!sync)
		argv[argc++] = "--no-sync";
	snprintf(program, sizeof(program), "%s/initdb", embedded->config->pg_bindir);
	snprintf(pgdata, sizeof(pgdata), "--pgdata=%s", where);
	return embedded_run(
		embedded,
		&(struct embedded_program){.argv = argv, .death_signal = SIGKILL, .output = -1, .asks_name = true},
		error);
}

bool embedded_make_fresh(const struct embedded *embedded, const char *where, bool sync, struct buf *error)
{
	return run_initdb(embedded, where, sync, error) && embedded_include_settings(embedded, where, error);
}

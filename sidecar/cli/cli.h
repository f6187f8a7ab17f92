/*
 * cli: the commands `millrace export`, `import`, `consume`, `archive` and `purge`, clients of a
 * server's HTTP API.
 *
 * Each returns an exit code, 0, 1 (it failed) or 2 (wrong settings), and has said on stderr what was wrong.
 */
#ifndef MILLRACE_CLI_H
#define MILLRACE_CLI_H

struct config;

int cli_export(const struct config *config);
int cli_import(const struct config *config);
int cli_consume(const struct config *config);
int cli_archive(const struct config *config);
int cli_purge(const struct config *config);

#endif

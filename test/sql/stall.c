/*
 * stall.c: a module for one session, whose commits stop while the file `stall.file` is there, between the
 * moment at which others see them and the one at which they are told of them.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "fmgr.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

void _PG_init(void);

static char *file;

static void stall(XactEvent event, void *arg)
{
	(void)arg;
	while (event == XACT_EVENT_COMMIT && file[0] != '\0' && access(file, F_OK) == 0)
		pg_usleep(1000);
}

void _PG_init(void)
{
	DefineCustomStringVariable("stall.file", "while it is there, commits stop", NULL, &file, "", PGC_SUSET, 0,
							   NULL, NULL, NULL);
	RegisterXactCallback(stall, NULL);
}

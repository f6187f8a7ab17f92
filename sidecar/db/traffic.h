/*
 * traffic.h: how many bytes a statement's parameters are, for the statistics.
 */
#ifndef MILLRACE_DB_TRAFFIC_H
#define MILLRACE_DB_TRAFFIC_H

#include <string.h>

#include "db/conn.h"

static inline uint64_t params_bytes(const struct db_statement_info *statement,
									const struct conn_params *params)
{
	uint64_t bytes = 0;

	for (int i = 0; i < statement->nparams; i++)
	{
		if (params->formats != NULL && params->formats[i] == 1)
			bytes += (uint64_t)params->lengths[i];
		else if (params->values[i] != NULL)
			bytes += strlen(params->values[i]);
	}
	return bytes;
}

#endif

/*
 * start.h: when Postgres started.
 */
#ifndef MILLRACE_START_H
#define MILLRACE_START_H

#include "postgres.h"

#include "utils/timestamp.h"

extern TimestampTz StartTime(void);

#endif

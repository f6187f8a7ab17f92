/*
 * start.c: when Postgres started.
 */
#include "postgres.h"

#include "pgstat.h"

#include "base/start.h"

/*
 * When Postgres started, or started anew after a crash of one of its processes: then the postmaster lives on
 * with the time of its own start, but the statistics are reset.  Where somebody reset them by hand it is that
 * time.  0 where the clock was set back since, behind the start.
 */
TimestampTz
StartTime(void)
{
	TimestampTz start = Max(PgStartTime, pgstat_fetch_stat_bgwriter()->stat_reset_timestamp);

	return start <= GetCurrentTimestamp() ? start : 0;
}

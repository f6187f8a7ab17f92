/*
 * below.c: counts the imports that put messages below others, whatever the table.
 *
 * Appends put their messages above all others, so a session may remember up to where all is decided
 * (core/undecided.c).  An import below that proves it wrong, so it is announced before and after its rows go
 * in, in shared memory.  A standby learns of none.
 */
#include "postgres.h"

#include "port/atomics.h"

#include "store/below.h"
#include "store/shared.h"

typedef struct Below
{
	pg_atomic_uint64 begun;
	pg_atomic_uint64 ended;
} Below;

static Below *below = NULL;
static bool no_below = false; /* the reserve is used up */

static void
InitBelow(void *memory)
{
	Below *made = memory;

	pg_atomic_init_u64(&made->begun, 0);
	pg_atomic_init_u64(&made->ended, 0);
}

static bool
Attach(void)
{
	if (!below && !no_below)
	{
		below = StoreShared("millrace imports below", sizeof(Below), InitBelow);
		no_below = !below;
	}
	return below != NULL;
}

/* Before rows are put below others. */
void
StoreBeginBelow(void)
{
	if (Attach())
		pg_atomic_fetch_add_u64(&below->begun, 1);
}

/* When they are in, or will not be. */
void
StoreEndBelow(void)
{
	if (below)
		pg_atomic_fetch_add_u64(&below->ended, 1);
}

/* Counts them; false: some are being put in just now, or they can't be counted. */
bool
StoreCountBelow(uint64 *count)
{
	if (!Attach())
		return false;
	*count = pg_atomic_read_u64(&below->begun);
	pg_read_barrier();
	return pg_atomic_read_u64(&below->ended) == *count;
}

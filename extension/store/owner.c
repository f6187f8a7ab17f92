/*
 * owner.c: running what the owner of a table has put into it.
 *
 * An index may have an expression or a condition, and they may call functions of the table's owner.  Some are
 * run as soon as the index is looked at: a call of constants is folded.  Whoever appends or reads, a
 * superuser too, must not lend the owner their rights; so, as in CREATE INDEX and VACUUM, they run with the
 * owner's, may do less, and what they set is undone.  Nor must the owner lend theirs to the caller, who could
 * have the owner's functions find something else by a search path: they get the one that such commands have
 * since PostgreSQL 17.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "store/store.h"

/* The end of the transaction undoes it, too, so an error needs nothing. */
StoreCaller
StoreBecomeOwner(Relation heap)
{
	StoreCaller caller;

	GetUserIdAndSecContext(&caller.role, &caller.security);
	SetUserIdAndSecContext(heap->rd_rel->relowner, caller.security | SECURITY_RESTRICTED_OPERATION);
	caller.settings = NewGUCNestLevel();
	(void)set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							true, 0, false);
	return caller;
}

void
StoreBecomeCaller(StoreCaller caller)
{
	AtEOXact_GUC(false, caller.settings);
	SetUserIdAndSecContext(caller.role, caller.security);
}

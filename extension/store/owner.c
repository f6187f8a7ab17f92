/*
 * owner.c: running what the owner of a table has put into it.
 *
 * An index may have an expression or a condition, and they may call functions of the table's owner.  Some are
 * run as soon as the index is looked at: a call of constants is folded.  They must
 * not have the rights of the role that appends or reads, a superuser perhaps; so, as in CREATE INDEX and
 * VACUUM, they run with the owner's, as a security-restricted operation, and what they set is undone.  Nor
 * must that role have the owner's rights, by a search path that makes the owner's functions find objects of
 * its own: they get the search path that such commands have since PostgreSQL 17.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "store/store.h"

/*
 * Takes on the rights of the table's owner; StoreBecomeCaller() gives back what this returns.  The end of the
 * transaction does so, too, so an error needs nothing.
 */
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

/* The same for who is not the owner, whose own triggers may do what they could without us. */
StoreCaller
StoreBecomeOwnerIfOther(Relation heap)
{
	if (GetUserId() == heap->rd_rel->relowner)
		return (StoreCaller){InvalidOid};
	return StoreBecomeOwner(heap);
}

/* Gives back the rights and settings that were taken on, if any were. */
void
StoreBecomeCaller(StoreCaller caller)
{
	if (!OidIsValid(caller.role))
		return;
	AtEOXact_GUC(false, caller.settings);
	SetUserIdAndSecContext(caller.role, caller.security);
}

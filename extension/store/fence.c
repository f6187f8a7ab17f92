/*
 * fence.c: whether a namespace is written to and read here, or is being moved to another server, or was.
 *
 * What it is stands in the registry, millrace.namespaces.  So that an append need not look there, a namespace
 * that is not open has a trigger by the name of millrace_fence on its messages and on the table `consumers`;
 * who writes anything of it has the lock of one of these two.  To make or enable the trigger takes a lock
 * that waits for all transactions that have written, and has every session look at the table again before it
 * writes anew.  While it is up, the registry is read by each call.  Statements of SQL run into the trigger
 * itself.  It is disabled and not dropped: that would wait for readers.
 *
 * The worker of logical replication, which fills a copy, fires no such trigger.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "base/errors.h"
#include "store/fence.h"
#include "store/store.h"

#define FENCE_TRIGGER "millrace_fence"

PG_FUNCTION_INFO_V1(millrace_fence);
PG_FUNCTION_INFO_V1(millrace_check_open);

extern Datum millrace_fence(PG_FUNCTION_ARGS);
extern Datum millrace_check_open(PG_FUNCTION_ARGS);

/* ---- the trigger --------------------------------------------------------------------------------------- */

static bool
IsFence(const Trigger *trigger)
{
	return !trigger->tgisinternal && strcmp(trigger->tgname, FENCE_TRIGGER) == 0;
}

static Trigger *
FindFence(Relation table)
{
	TriggerDesc *triggers = table->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (IsFence(&triggers->triggers[i]) && triggers->triggers[i].tgenabled != TRIGGER_DISABLED)
			return &triggers->triggers[i];
	return NULL;
}

/* Says whether the namespace of a table is not open, for all that the table says. */
bool
FenceIsUp(Relation table)
{
	return FindFence(table) != NULL;
}

/* Says whether a table has a trigger other than the fence that matches; NULL: any does. */
bool
FenceHasOthers(Relation table, bool (*matches)(const Trigger *trigger))
{
	TriggerDesc *triggers = table->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (!IsFence(&triggers->triggers[i]) && (!matches || matches(&triggers->triggers[i])))
			return true;
	return false;
}

/* ---- refusing ------------------------------------------------------------------------------------------ */

static void
RefuseMoved(const char *name, const NamespaceState *state)
{
	StringInfoData detail;

	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"cluster\":");
	escape_json(&detail, state->moved_to);
	appendStringInfo(&detail, ",\"epoch\":" INT64_FORMAT "}", state->epoch);
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_NAMESPACE_MOVED),
					errmsg("namespace \"%s\" has moved to cluster \"%s\"", name, state->moved_to),
					errdetail_internal("%s", detail.data),
					errhint("Nothing of it is read or written here any more.")));
}

/* Refuses what is not allowed in a state: MR028, MR029. */
static void
CheckState(const char *name, const NamespaceState *state, bool write)
{
	if (state->moved_to)
		RefuseMoved(name, state);
	if (state->epoch == 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_NAMESPACE_SEALED),
						errmsg("namespace \"%s\" is being copied to this server", name),
						errhint("It is read and written where it was, until it is open here.")));
	if (write)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_NAMESPACE_SEALED),
						errmsg("namespace \"%s\" is sealed: it takes no writes", name),
						errhint("It is being moved to another server. Try again in a moment.")));
}

static void
CheckNamed(const char *name, bool write)
{
	NamespaceState state;

	if (!StoreReadState(name, &state))
		state = (NamespaceState){.epoch = 1};
	CheckState(name, &state, write);
}

/*
 * Refuses a look at a table of a namespace that is not open, or a write to it: MR028 while it is sealed,
 * which ends, MR029 where it has moved.  A lock that suits is held.
 */
void
FenceCheck(Relation table, bool write)
{
	Trigger *fence = FindFence(table);

	if (fence)
		CheckNamed(fence->tgnargs > 0 ? fence->tgargs[0] : get_namespace_name(RelationGetNamespace(table)),
				   write);
}

/* The trigger's function: its argument is the name of the namespace.  MR028, MR029. */
Datum
millrace_fence(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *)fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || data->tg_trigger->tgnargs < 1)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("millrace.fence() is a trigger's function, with the name of a namespace")));
	CheckNamed(data->tg_trigger->tgargs[0], true);
	PG_RETURN_NULL();
}

/* ---- what stands in tables of the extension ------------------------------------------------------------ */

/* Only who may write into a table of ours may hold up the sealing, which waits for the lock. */
static void
LockNamespace(text *name, Oid relid)
{
	if (get_rel_namespace(relid) != get_namespace_oid("millrace", false))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("that is no table of millrace's")));
	if (pg_class_aclmask(relid, GetUserId(), ACL_INSERT | ACL_UPDATE | ACL_DELETE, ACLMASK_ANY) == 0)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relid));
	StoreShareNamespace(SliceOfText(name));
}

/*
 * check_open(name, relation) -> nothing; MR028, MR029 unless the namespace may be written to.  With one of
 * the extension's tables, into which the caller may write: it stays so to commit.
 */
Datum
millrace_check_open(PG_FUNCTION_ARGS)
{
	text *name;
	NamespaceState state;

	if (PG_ARGISNULL(0))
		PG_RETURN_VOID();
	name = PG_GETARG_TEXT_PP(0);
	if (!PG_ARGISNULL(1))
		LockNamespace(name, PG_GETARG_OID(1));
	if (StoreReadState(text_to_cstring(name), &state) && !state.open)
		CheckState(text_to_cstring(name), &state, true);
	PG_RETURN_VOID();
}

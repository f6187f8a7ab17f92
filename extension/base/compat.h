/*
 * compat.h: every difference between PostgreSQL 15 and 19 that Millrace meets.
 *
 * Each entry names the change it follows.  No other file tests PG_VERSION_NUM.
 */
#ifndef MILLRACE_COMPAT_H
#define MILLRACE_COMPAT_H

#include "access/genam.h"
#include "access/transam.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "storage/lwlock.h"
#include "utils/acl.h"
#include "utils/guc_tables.h"

#if PG_VERSION_NUM < 150000
#error "Millrace needs PostgreSQL 15 or newer"
#endif

/* 16: the per-object aclcheck functions became object_aclcheck(). */
#if PG_VERSION_NUM >= 160000
#define CompatSchemaAclCheck(schema, role, mode) object_aclcheck(NamespaceRelationId, schema, role, mode)
#else
#define CompatSchemaAclCheck(schema, role, mode) pg_namespace_aclcheck(schema, role, mode)
#endif

#if PG_VERSION_NUM >= 160000
#define CompatFunctionAclCheck(function, role, mode)                                                         \
	object_aclcheck(ProcedureRelationId, function, role, mode)
#else
#define CompatFunctionAclCheck(function, role, mode) pg_proc_aclcheck(function, role, mode)
#endif

/* 16: get_guc_variables() returns their number, too. */
#if PG_VERSION_NUM >= 160000
#define CompatSettings(nsettings) get_guc_variables(&(nsettings))
#else
#define CompatSettings(nsettings) ((nsettings) = GetNumConfigOptions(), get_guc_variables())
#endif

/* 16: the macros for values of varying length are in a header of their own, which no other brings along. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18: a generated column may be virtual, too. */
#if PG_VERSION_NUM >= 180000
#define CompatHasGenerated(constraints)                                                                      \
	((constraints)->has_generated_stored || (constraints)->has_generated_virtual)
#else
#define CompatHasGenerated(constraints) ((constraints)->has_generated_stored)
#endif

/* 16: one setting can be looked up by its name. */
#if PG_VERSION_NUM >= 160000
#define CompatFindSetting(setting) find_option(setting, false, false, ERROR)
#else
static inline struct config_generic *
CompatFindSetting(const char *setting)
{
	struct config_generic **all = get_guc_variables();

	while (strcmp((*all)->name, setting) != 0)
		all++;
	return *all;
}
#endif

/* 16: TRUNCATE can run the triggers as the table's owner. */
#if PG_VERSION_NUM >= 160000
#define CompatTruncate(tables, relids, logged)                                                               \
	ExecuteTruncateGuts(tables, relids, logged, DROP_RESTRICT, false, false)
#else
#define CompatTruncate(tables, relids, logged)                                                               \
	ExecuteTruncateGuts(tables, relids, logged, DROP_RESTRICT, false)
#endif

/* 17: index_insert_cleanup() lets an access method end what index_insert() began. */
#if PG_VERSION_NUM >= 170000
#define CompatIndexInsertCleanup(index, info) index_insert_cleanup(index, info)
#else
#define CompatIndexInsertCleanup(index, info) ((void)0)
#endif

/* 17: LogLogicalMessage() can flush. */
#if PG_VERSION_NUM >= 170000
#define CompatLogMessage(prefix, transactional) LogLogicalMessage(prefix, "", 0, transactional, false)
#else
#define CompatLogMessage(prefix, transactional) LogLogicalMessage(prefix, "", 0, transactional)
#endif

/*
 * 17: the variable has another name.  A count of 64 bits, written under ProcArrayLock; it can be
 * read without a lock to be compared.
 */
#if PG_VERSION_NUM >= 170000
#define CompatCompletedTransactions() (*(volatile uint64 *)&TransamVariables->xactCompletionCount)
#else
#define CompatCompletedTransactions() (*(volatile uint64 *)&ShmemVariableCache->xactCompletionCount)
#endif

/* 18: BTMaxItemSize is the same for every page. */
#if PG_VERSION_NUM >= 180000
#define CompatMaxEntrySize(page) ((void)(page), BTMaxItemSize)
#else
#define CompatMaxEntrySize(page) BTMaxItemSize((Page)(page))
#endif

/*
 * 18: what a collation is like is a part of its locale.
 *
 * Before 19 the header of locales includes ICU's, which need not be installed to build an extension.  Nothing
 * of it is used here, and the members stay where they are when it is left out.
 */
#pragma push_macro("USE_ICU")
#undef USE_ICU
#include "utils/pg_locale.h"
#pragma pop_macro("USE_ICU")
#if PG_VERSION_NUM >= 180000
#define CompatCollationIsC(collation) (pg_newlocale_from_collation(collation)->collate_is_c)
#else
#define CompatCollationIsC(collation) lc_collate_is_c(collation)
#endif

/* 18: the parts of EXPLAIN that print have a header of their own. */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#else
#include "commands/explain.h"
#endif

/* 18: ExecutorRun() is no longer told that it runs once. */
#if PG_VERSION_NUM >= 180000
#define CompatExecutorRunParameters QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define CompatExecutorRunArguments queryDesc, direction, count
#else
#define CompatExecutorRunParameters                                                                          \
	QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool execute_once
#define CompatExecutorRunArguments queryDesc, direction, count, execute_once
#endif

/* 19: heap_delete() has options in place of whether the row moves to another partition. */
#if PG_VERSION_NUM >= 190000
#define CompatHeapDelete(heap, tid, failure)                                                                 \
	heap_delete(heap, tid, GetCurrentCommandId(true), 0, InvalidSnapshot, true, failure)
#else
#define CompatHeapDelete(heap, tid, failure)                                                                 \
	heap_delete(heap, tid, GetCurrentCommandId(true), InvalidSnapshot, true, failure, false)
#endif

/* 18: index_beginscan() takes a place for instrumentation; 19: flags. */
#if PG_VERSION_NUM >= 190000
#define CompatIndexBeginScan(heap, index, snapshot, nkeys)                                                   \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0, 0)
#elif PG_VERSION_NUM >= 180000
#define CompatIndexBeginScan(heap, index, snapshot, nkeys)                                                   \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define CompatIndexBeginScan(heap, index, snapshot, nkeys) index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* 19: the server keeps the routine of an access method where it is; before, it copied and freed it. */
#if PG_VERSION_NUM >= 190000
#define CompatHandOutRoutine(routine) (routine)
#else
#define CompatHandOutRoutine(routine) memcpy(palloc(sizeof(IndexAmRoutine)), routine, sizeof(IndexAmRoutine))
#endif

/* 18: RelationGetPrimaryKeyIndex() can return a deferrable key's, too. */
#if PG_VERSION_NUM >= 180000
#define CompatPrimaryKeyIndex(relation) RelationGetPrimaryKeyIndex(relation, false)
#else
#define CompatPrimaryKeyIndex(relation) RelationGetPrimaryKeyIndex(relation)
#endif

/* 19: table_beginscan() takes flags. */
#if PG_VERSION_NUM >= 190000
#define CompatTableBeginScan(heap, snapshot) table_beginscan(heap, snapshot, 0, NULL, 0)
#else
#define CompatTableBeginScan(heap, snapshot) table_beginscan(heap, snapshot, 0, NULL)
#endif

/*
 * 19: a tranche of lightweight locks is named once, for all sessions; before, each session registered the
 * name.
 */
#if PG_VERSION_NUM >= 190000
#define CompatNewTranche(name) LWLockNewTrancheId(name)
#define CompatNameTranche(tranche, name) ((void)0)
#else
#define CompatNewTranche(name) LWLockNewTrancheId()
#define CompatNameTranche(tranche, name) LWLockRegisterTranche(tranche, name)
#endif

/* 19: a descriptor that is made by hand must be finished. */
#if PG_VERSION_NUM >= 190000
#define CompatTupleDescFinalize(desc) TupleDescFinalize(desc)
#else
#define CompatTupleDescFinalize(desc) ((void)0)
#endif

/*
 * 19: the lock of a page belongs to its pin and is no lightweight lock, so LWLockReleaseAll() leaves it.  In
 * an error that ends the (sub)transaction: its pins, and with them their locks, go before the error is sent.
 */
#if PG_VERSION_NUM >= 190000
#define CompatAbandonPages() ResourceOwnerReleaseAllOfKind(CurrentResourceOwner, &buffer_resowner_desc)
#else
#define CompatAbandonPages() ((void)0)
#endif

/*
 * nbtree's pages and its record of an entry that a leaf has room for are the same from 13 to 19; of a later
 * version that has to be looked at first (store/leaf.c, store/ordered.c).
 */
#define CompatKnowsLeaves() (PG_VERSION_NUM < 200000)

#endif

/*
 * compat.h: every difference between PostgreSQL 13 and 18 that Millrace meets.
 *
 * Each entry names the change it follows.  No other file tests PG_VERSION_NUM.
 */
#ifndef MILLRACE_COMPAT_H
#define MILLRACE_COMPAT_H

#include "access/genam.h"
#include "access/toast_internals.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "common/md5.h"
#include "utils/acl.h"

#if PG_VERSION_NUM < 130000
#error "Millrace needs PostgreSQL 13 or newer"
#endif

/* 14: index_insert() learned whether an UPDATE left the key alone. */
#if PG_VERSION_NUM >= 140000
#define CompatIndexInsert(index, values, isnull, tid, heap, check, info)                                     \
	index_insert(index, values, isnull, tid, heap, check, false, info)
#else
#define CompatIndexInsert(index, values, isnull, tid, heap, check, info)                                     \
	index_insert(index, values, isnull, tid, heap, check, info)
#endif

/* 14: a hash table says when its keys are strings; before, that was what no flag meant. */
#if PG_VERSION_NUM < 140000
#define HASH_STRINGS 0
#endif

/* 14: columns choose their compression method. */
#if PG_VERSION_NUM >= 140000
#define CompatCompress(value, attribute) toast_compress_datum(value, (attribute)->attcompression)
#else
#define CompatCompress(value, attribute) toast_compress_datum(value)
#endif

/* 14: pg_rotate_left32(). */
#if PG_VERSION_NUM < 140000
#define pg_rotate_left32(word, n) (((word) << (n)) | ((word) >> (32 - (n))))
#endif

/* 14: pg_lltoa() returns the length. */
#if PG_VERSION_NUM >= 140000
#define CompatInt64ToText(value, out) pg_lltoa(value, out)
#else
#define CompatInt64ToText(value, out) (pg_lltoa(value, out), (int)strlen(out))
#endif

/* 15: pg_md5_binary() reports why it failed. */
#if PG_VERSION_NUM >= 150000
#define CompatMd5(bytes, len, digest, reason) pg_md5_binary(bytes, len, digest, reason)
#else
#define CompatMd5(bytes, len, digest, reason) (*(reason) = NULL, pg_md5_binary(bytes, len, digest))
#endif

/* 15: a custom scan says that it can project; before, each had to. */
#if PG_VERSION_NUM < 150000
#define CUSTOMPATH_SUPPORT_PROJECTION 0
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

/* 16: the macros for values of varying length are in a header of their own, which no other brings along. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 17: index_insert_cleanup() lets an access method end what index_insert() began. */
#if PG_VERSION_NUM >= 170000
#define CompatIndexInsertCleanup(index, info) index_insert_cleanup(index, info)
#else
#define CompatIndexInsertCleanup(index, info) ((void)0)
#endif

/* 17: LogLogicalMessage() can flush. */
#if PG_VERSION_NUM >= 170000
#define CompatLogMessage(prefix, bytes, len) LogLogicalMessage(prefix, bytes, len, true, false)
#else
#define CompatLogMessage(prefix, bytes, len) LogLogicalMessage(prefix, bytes, len, true)
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

/* 18: index_beginscan() takes a place for instrumentation. */
#if PG_VERSION_NUM >= 180000
#define CompatIndexBeginScan(heap, index, snapshot, nkeys)                                                   \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define CompatIndexBeginScan(heap, index, snapshot, nkeys) index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* 18: RelationGetPrimaryKeyIndex() can return a deferrable key's, too. */
#if PG_VERSION_NUM >= 180000
#define CompatPrimaryKeyIndex(relation) RelationGetPrimaryKeyIndex(relation, false)
#else
#define CompatPrimaryKeyIndex(relation) RelationGetPrimaryKeyIndex(relation)
#endif

#endif

/*
 * scan.c: the plan node that runs our reading functions in FROM.
 *
 * Postgres runs a function in FROM to its end and keeps its rows in a tuplestore, which for a read of
 * messages costs as much as the read.  Here the planner is offered a node of our own instead, for a query
 * whose only table is one call of such a function:
 *
 *   plan     The functions have a support function, so the planner has loaded this library, and with it
 *            the hook below, before it looks for ways to scan the function's rows.  The hook puts a custom
 *            path in the place of the function scan.
 *   begin    checks the privilege to execute, as the executor does for a function scan; notes whose rights
 *            the statement has.
 *   first    evaluates the arguments, opens the table with those rights and fixes the snapshot; nothing of
 *            that happens for an EXPLAIN.
 *   each     fetches one message and makes a row of it, which points into the table's page where it can.
 *   end      of the rows or of the query, whichever is first, closes the table.
 *
 * What a drawn-out read returns is what it would have returned at once.  The snapshot is fixed when the
 * first row is fetched; a row that it sees was in the index before, with all that are below it
 * (core/read.c), and an entry that stays there is met however slowly the index is walked; a row that it
 * doesn't see is either passed over or ends the read, early or late.  Only where the end comes may differ:
 * a transaction in progress at first may have rolled back by the time its row is met, so that the read goes
 * on.  Both are prefixes, and both final.  But two runs of one scan could differ so, so the node is offered
 * only where nothing runs it twice: not in subqueries and not beside other tables.  There the function scan
 * keeps its rows.
 *
 * A function whose only row is a page of messages is read at once when that row is fetched; scan/wire.c has
 * it written where the client's message is made.
 *
 * The node runs forwards only: for a SCROLL cursor the planner puts a Material node above it.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "message_db/message_db.h"
#include "scan/scan.h"

PG_FUNCTION_INFO_V1(millrace_read_support);

extern Datum millrace_read_support(PG_FUNCTION_ARGS);

/*
 * A larger batch_size stands for all there is; as an estimate it would make the planner compile the query,
 * for a hundred times as long as it runs.
 */
#define ROWS_ESTIMATED_MAX 10000

static set_rel_pathlist_hook_type next_pathlist_hook = NULL;

/* ---- which functions ---------------------------------------------------------------------------- */

static const MessageFunction *
FindAddress(const MessageFunction *const *functions, PGFunction address)
{
	for (; *functions; functions++)
		if ((*functions)->address == address)
			return *functions;
	return NULL;
}

/*
 * Finds what we know of an SQL function; NULL when it is not one of ours, or has settings of its own or
 * another's privileges, so that fmgr must call it.
 */
static const MessageFunction *
FindFunction(Oid oid)
{
	FmgrInfo info;
	const MessageFunction *function;

	if (!OidIsValid(get_func_support(oid)))
		return NULL;
	fmgr_info(oid, &info);
	function = FindAddress(read_functions, info.fn_addr);
	if (!function)
		function = FindAddress(page_functions, info.fn_addr);
	return function ? function : FindAddress(message_db_functions, info.fn_addr);
}

/* Says whether the rows of the function's type are still those that we make. */
static bool
HasOurRowType(FuncExpr *call, const MessageFunction *function)
{
	TupleDesc desc = get_expr_result_tupdesc((Node *)call, true);

	if (!desc || desc->natts != MessageFunctionColumns(function))
		return false;
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attisdropped || TupleDescAttr(desc, i)->atttypid != function->types[i])
			return false;
	return true;
}

static bool
IsNullConstant(Node *node)
{
	return IsA(node, Const) && ((Const *)node)->constisnull;
}

/* Returns the call when the node can run it, NULL when it is for the function scan. */
static FuncExpr *
CallToRun(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte)
{
	FuncExpr *call;
	const MessageFunction *function;

	if (rte->rtekind != RTE_FUNCTION || rte->funcordinality || list_length(rte->functions) != 1 ||
		root->parse->commandType != CMD_SELECT || root->parent_root ||
		!bms_equal(root->all_baserels, rel->relids) ||
		!bms_is_empty(rel->attr_needed[InvalidAttrNumber - rel->min_attr]))
		return NULL;
	call = (FuncExpr *)((RangeTblFunction *)linitial(rte->functions))->funcexpr;
	if (!IsA(call, FuncExpr))
		return NULL;
	function = FindFunction(call->funcid);
	if (!function || call->funcretset != (function->page == NULL) || !HasOurRowType(call, function))
		return NULL;
	if (function->other_argument >= 0 && !IsNullConstant(list_nth(call->args, function->other_argument)))
		return NULL;
	return call;
}

/* ---- planning ------------------------------------------------------------------------------------ */

/* What the node's rows are made of, as the planner refers to it. */
static List *
ScanColumns(RelOptInfo *rel, const MessageFunction *function)
{
	List *columns = NIL;

	for (int i = 0; i < MessageFunctionColumns(function); i++)
	{
		Oid type = function->types[i];
		AttrNumber number = (AttrNumber)(i + 1);
		Var *column = makeVar(rel->relid, number, type, -1, get_typcollation(type), 0);

		columns = lappend(columns, makeTargetEntry((Expr *)column, number, NULL, false));
	}
	return columns;
}

static Node *CreateScan(CustomScan *plan);

static const CustomScanMethods scan_methods = {.CustomName = "Millrace", .CreateCustomScanState = CreateScan};

static Plan *
PlanScan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *columns, List *clauses,
		 List *custom_plans)
{
	CustomScan *scan = makeNode(CustomScan);
	FuncExpr *call = linitial(path->custom_private);

	scan->scan.plan.targetlist = columns;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	scan->custom_exprs = list_make1(call);
	scan->custom_scan_tlist = ScanColumns(rel, FindFunction(call->funcid));
	scan->flags = path->flags;
	scan->methods = &scan_methods;
	return &scan->scan.plan;
}

static const CustomPathMethods path_methods = {.CustomName = "Millrace", .PlanCustomPath = PlanScan};

/*
 * set_rel_pathlist_hook: puts our path in the place of the function scan, at the same cost but for the start.
 */
static void
OfferScan(PlannerInfo *root, RelOptInfo *rel, Index index, RangeTblEntry *rte)
{
	FuncExpr *call;
	CustomPath *path;
	Path *instead;

	if (next_pathlist_hook)
		next_pathlist_hook(root, rel, index, rte);
	call = CallToRun(root, rel, rte);
	if (!call || list_length(rel->pathlist) != 1)
		return;
	instead = linitial(rel->pathlist);
	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = instead->pathtarget;
	path->path.parallel_safe = instead->parallel_safe;
	path->path.rows = instead->rows;
	path->path.total_cost = instead->total_cost;
	path->custom_private = list_make1(call);
	path->methods = &path_methods;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	rel->pathlist = list_make1(path);
}

/*
 * millrace.read_support(internal): answers the planner's questions about our functions.  The first one
 * loads this library in time; the only one that is answered is how many rows there will be.
 */
Datum
millrace_read_support(PG_FUNCTION_ARGS)
{
	Node *request = (Node *)PG_GETARG_POINTER(0);
	SupportRequestRows *rows = (SupportRequestRows *)request;
	const MessageFunction *function;
	Const *limit;

	if (!IsA(request, SupportRequestRows) || !IsA(rows->node, FuncExpr))
		PG_RETURN_POINTER(NULL);
	function = FindFunction(rows->funcid);
	if (!function || function->limit_argument < 0)
		PG_RETURN_POINTER(NULL);
	limit = list_nth(((FuncExpr *)rows->node)->args, function->limit_argument);
	if (!IsA(limit, Const) || limit->constisnull || DatumGetInt64(limit->constvalue) < 0)
		PG_RETURN_POINTER(NULL);
	rows->rows = Min(DatumGetInt64(limit->constvalue), ROWS_ESTIMATED_MAX);
	PG_RETURN_POINTER(rows);
}

/* ---- running ------------------------------------------------------------------------------------------ */

static FuncExpr *
CallOf(MessageScan *scan)
{
	return linitial(((CustomScan *)scan->node.ss.ps.plan)->custom_exprs);
}

static void
BeginScan(CustomScanState *node, EState *estate, int flags)
{
	MessageScan *scan = (MessageScan *)node;
	FuncExpr *call = CallOf(scan);
	AclResult allowed = CompatFunctionAclCheck(call->funcid, GetUserId(), ACL_EXECUTE);

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_FUNCTION, get_func_name(call->funcid));
	scan->function = FindFunction(call->funcid);
	if (!scan->function)
		elog(ERROR, "function %u is not one that returns messages", call->funcid);
	scan->role = GetUserId();
	scan->selected = SelectedNamespace();
	if (scan->selected)
		scan->selected = pstrdup(scan->selected);
	fmgr_info(call->funcid, &scan->function_info);
	fmgr_info_set_expr((Node *)call, &scan->function_info);
	scan->arguments = ExecInitExprList(call->args, &node->ss.ps);
	scan->context = AllocSetContextCreate(CurrentMemoryContext, "millrace scan", ALLOCSET_DEFAULT_SIZES);
}

/* A snapshot of the function's own is always young enough. */
static Snapshot
FixSnapshot(MessageScan *scan)
{
	Snapshot younger = StoreTakeSnapshot(scan->store);

	if (younger && !scan->function->fresh_snapshot)
		return younger;
	if (younger)
		UnregisterSnapshot(younger);
	return RegisterSnapshot(MessageFunctionSnapshot(scan->function));
}

/*
 * Opens the table with the rights of the role that began the statement, as they are those of a query on a
 * table: the cursor may have been opened in a SECURITY DEFINER function, and be fetched from outside, or the
 * other way round.  The end of the transaction in an error undoes the change, too.
 */
static void
OpenAsStatement(MessageScan *scan, FunctionCallInfo fcinfo)
{
	Oid role;
	int security;

	GetUserIdAndSecContext(&role, &security);
	if (role != scan->role)
		SetUserIdAndSecContext(scan->role, security | SECURITY_LOCAL_USERID_CHANGE);
	scan->store = scan->function->begin(fcinfo, &scan->request, scan->selected);
	if (role != scan->role)
		SetUserIdAndSecContext(role, security);
}

/* Evaluates the arguments. */
static FunctionCallInfo
BeginCall(MessageScan *scan)
{
	FuncExpr *call = CallOf(scan);
	FunctionCallInfo fcinfo = palloc0(SizeForFunctionCallInfo(list_length(call->args)));
	int argument = 0;
	ListCell *cell;

	InitFunctionCallInfoData(*fcinfo, &scan->function_info, list_length(call->args), call->inputcollid, NULL,
							 NULL);
	foreach (cell, scan->arguments)
	{
		fcinfo->args[argument].value =
			ExecEvalExpr(lfirst(cell), scan->node.ss.ps.ps_ExprContext, &fcinfo->args[argument].isnull);
		argument++;
	}
	return fcinfo;
}

/* Opens the table, as a call of the function would. */
static void
BeginRun(MessageScan *scan)
{
	MemoryContext caller = MemoryContextSwitchTo(scan->context);
	FunctionCallInfo fcinfo = BeginCall(scan);
	PgStat_FunctionCallUsage usage;

	memset(&scan->request, 0, sizeof(scan->request));
	scan->begun = true;
	pgstat_init_function_usage(fcinfo, &usage); /* counts the call, not the time that the rows take */
	OpenAsStatement(scan, fcinfo);
	pgstat_end_function_usage(&usage, true);
	scan->snapshot = FixSnapshot(scan);
	scan->reader = ReaderBegin(scan->store, &scan->request, scan->snapshot);
	MemoryContextSwitchTo(caller);
}

static void
EndRun(MessageScan *scan)
{
	if (!scan->store)
		return;
	(void)ReaderEnd(scan->reader);
	UnregisterSnapshot(scan->snapshot);
	StoreClose(scan->store);
	scan->store = NULL;
}

/*
 * Makes the row of a function whose row is a page, the page at the end of the text; where that is NULL, as
 * the first column.
 */
void
ScanPage(MessageScan *scan, StringInfo text_form, Datum *values, bool *isnull)
{
	FunctionCallInfo fcinfo = BeginCall(scan);
	PgStat_FunctionCallUsage usage;

	pgstat_init_function_usage(fcinfo, &usage);
	if (text_form)
		scan->function->page(fcinfo, text_form, values, isnull);
	else
		PageFunctionRow(scan->function, fcinfo, values, isnull);
	pgstat_end_function_usage(&usage, true);
}

/* The same for the node's slot. */
static TupleTableSlot *
NextPage(MessageScan *scan, TupleTableSlot *slot)
{
	MemoryContext caller;

	if (scan->begun)
		return slot;
	scan->begun = true;
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	if (!scan->direct)
	{
		caller = MemoryContextSwitchTo(scan->node.ss.ps.ps_ExprContext->ecxt_per_tuple_memory);
		ScanPage(scan, NULL, slot->tts_values, slot->tts_isnull);
		MemoryContextSwitchTo(caller);
	}
	return ExecStoreVirtualTuple(slot);
}

/* Fetches a message into the node's slot; an empty slot ends the scan. */
static TupleTableSlot *
NextRow(ScanState *node)
{
	MessageScan *scan = (MessageScan *)node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	MemoryContext caller;

	ExecClearTuple(slot);
	if (scan->function->page)
		return NextPage(scan, slot);
	if (!scan->begun)
		BeginRun(scan);
	if (!scan->store)
		return slot;
	scan->message = ReaderNext(scan->reader);
	if (!scan->message)
	{
		EndRun(scan);
		return slot;
	}
	if (scan->direct)
		memset(slot->tts_isnull, true, MESSAGE_COLUMNS * sizeof(bool));
	else
	{
		caller = MemoryContextSwitchTo(node->ps.ps_ExprContext->ecxt_per_tuple_memory);
		scan->function->row(scan->message, slot->tts_values, slot->tts_isnull);
		MemoryContextSwitchTo(caller);
	}
	return ExecStoreVirtualTuple(slot);
}

/* Only for EvalPlanQual, which never comes here: no rows of a function are locked. */
static bool
RecheckRow(ScanState *node, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *
ExecScanNode(CustomScanState *node)
{
	return ExecScan(&node->ss, NextRow, RecheckRow);
}

static void
EndScan(CustomScanState *node)
{
	MessageScan *scan = (MessageScan *)node;

	ExecClearTuple(node->ss.ss_ScanTupleSlot);
	EndRun(scan);
}

static void
RescanScan(CustomScanState *node)
{
	MessageScan *scan = (MessageScan *)node;

	EndScan(node);
	ExecScanReScan(&node->ss);
	MemoryContextReset(scan->context);
	scan->begun = false;
}

/* EXPLAIN: the call, with its arguments. */
static void
ExplainScan(CustomScanState *node, List *ancestors, ExplainState *es)
{
	List *context = set_deparse_context_plan(es->deparse_cxt, node->ss.ps.plan, ancestors);

	ExplainPropertyText("Function Call",
						deparse_expression((Node *)CallOf((MessageScan *)node), context, false, false), es);
}

static const CustomExecMethods exec_methods = {
	.CustomName = "Millrace",
	.BeginCustomScan = BeginScan,
	.ExecCustomScan = ExecScanNode,
	.EndCustomScan = EndScan,
	.ReScanCustomScan = RescanScan,
	.ExplainCustomScan = ExplainScan,
};

static Node *
CreateScan(CustomScan *plan)
{
	MessageScan *scan = palloc0(sizeof(MessageScan));

	NodeSetTag(scan, T_CustomScanState);
	scan->node.methods = &exec_methods;
	return (Node *)scan;
}

/* Returns the scan when the plan's node is one, NULL when it is not. */
MessageScan *
ScanOfNode(PlanState *node)
{
	return node && IsA(node, CustomScanState) && ((CustomScanState *)node)->methods == &exec_methods
			   ? (MessageScan *)node
			   : NULL;
}

/* Registers the node and its hook, when the library is loaded. */
void
ScanInit(void)
{
	RegisterCustomScanMethods(&scan_methods);
	next_pathlist_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = OfferScan;
}

/*
 * page.h: rows on a page of a table.
 */
#ifndef MILLRACE_PAGE_H
#define MILLRACE_PAGE_H

#include "postgres.h"

#include "access/htup_details.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/rel.h"

/* Makes a row of what a line pointer of a page, which is pinned, leads to; false when that is no row. */
static inline bool
PageRowAt(Relation heap, Buffer buffer, OffsetNumber offset, HeapTuple row)
{
	Page page = BufferGetPage(buffer);
	ItemId item = PageGetItemId(page, offset);

	if (!ItemIdIsNormal(item))
		return false;
	row->t_data = (HeapTupleHeader)PageGetItem(page, item);
	row->t_len = ItemIdGetLength(item);
	row->t_tableOid = RelationGetRelid(heap);
	ItemPointerSet(&row->t_self, BufferGetBlockNumber(buffer), offset);
	return true;
}

#endif

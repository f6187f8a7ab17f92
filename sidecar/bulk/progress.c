/*
 * progress.c: a ring of marks (see progress.h).
 */
#include "bulk/progress.h"

#include <inttypes.h>
#include <stdlib.h>

struct import_progress_mark
{
	uint64_t imported;
	int64_t global_position;
};

void import_progress_keep(struct import_progress *progress, uint64_t imported, int64_t global_position)
{
	if (progress->marks == NULL)
		progress->marks = malloc(IMPORT_PROGRESS_MAX * sizeof(*progress->marks));
	if (progress->marks == NULL)
		return;
	progress->marks[progress->count++ % IMPORT_PROGRESS_MAX] =
		(struct import_progress_mark){.imported = imported, .global_position = global_position};
}

void import_progress_write_event(struct buf *out, uint64_t imported, int64_t global_position)
{
	buf_printf(out, "data: {\"imported\":%" PRIu64 ",\"gpos\":%" PRId64 "}\n\n", imported, global_position);
}

void import_progress_write(const struct import_progress *progress, struct buf *out)
{
	uint64_t first = progress->count > IMPORT_PROGRESS_MAX ? progress->count - IMPORT_PROGRESS_MAX : 0;

	for (uint64_t i = first; i < progress->count; i++)
	{
		const struct import_progress_mark *mark = &progress->marks[i % IMPORT_PROGRESS_MAX];

		import_progress_write_event(out, mark->imported, mark->global_position);
	}
}

void import_progress_free(struct import_progress *progress)
{
	free(progress->marks);
	progress->marks = NULL;
}

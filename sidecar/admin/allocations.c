/*
 * allocations: which code allocates memory; see allocations.h.
 *
 * gperftools counts per call stack what is in use and, in brackets, what was ever allocated:
 *
 *     heap profile:   120:    34567 [  4711:  8912345] @ heapprofile
 *        12:     4096 [   700:   238000] @ 0x55d0c8a1b2c3 0x55d0c8a1c0de
 *
 *     MAPPED_LIBRARIES:
 *     ...
 *
 * Readers show the first pair unless told otherwise.  So in a profile of all allocations both are the second.
 */
#include "admin/allocations.h"

#include <stdlib.h>
#include <string.h>

#ifdef MILLRACE_PROFILE

#include <gperftools/heap-profiler.h>
#include <stdio.h>
#include <unistd.h>

void allocations_record(char **argv)
{
	/* It reads its settings before main.  These two say that it shall write no files by itself. */
	if (getenv("HEAP_PROFILE_ALLOCATION_INTERVAL") == NULL)
	{
		setenv("HEAP_PROFILE_ALLOCATION_INTERVAL", "0", 1);
		setenv("HEAP_PROFILE_INUSE_INTERVAL", "0", 1);
		execv("/proc/self/exe", argv);
		perror("millrace: /proc/self/exe");
	}
	HeapProfilerStart("millrace");
	/* It would write a last file. */
	atexit(HeapProfilerStop);
}

bool allocations_profile(struct buf *out, enum allocations which)
{
	char *profile = GetHeapProfile();

	if (profile == NULL)
		out->failed = true;
	else
		allocations_write(out, profile, which);
	free(profile);
	return true;
}

#else

void allocations_record(char **argv)
{
	(void)argv;
}

bool allocations_profile(struct buf *out, enum allocations which)
{
	(void)out;
	(void)which;
	return false;
}

#endif

/* A line with counts, in which what was ever allocated takes the place of what is in use. */
static void add_line_of_all(struct buf *out, const char *line, size_t len)
{
	static const char head[] = "heap profile: ";
	const char *open = memchr(line, '[', len);
	const char *close = open != NULL ? memchr(open, ']', len - (size_t)(open - line)) : NULL;
	bool is_head = len > sizeof(head) && memcmp(line, head, sizeof(head) - 1) == 0;

	if (close == NULL)
	{
		buf_add(out, line, len);
		return;
	}
	buf_add_str(out, is_head ? head : "");
	buf_add(out, open + 1, (size_t)(close - open - 1));
	buf_add_str(out, " ");
	buf_add(out, open, len - (size_t)(open - line));
}

void allocations_write(struct buf *out, const char *profile, enum allocations which)
{
	const char *at = profile;
	const char *end = strstr(profile, "MAPPED_LIBRARIES:");

	while (which == ALLOCATIONS_ALL && end != NULL && at < end)
	{
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		const char *next = line_end != NULL ? line_end + 1 : end;

		add_line_of_all(out, at, (size_t)(next - at));
		at = next;
	}
	buf_add_str(out, at);
}

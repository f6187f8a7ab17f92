/*
 * frame.h: requests and verdicts in binary; see internal.h.
 */
#ifndef MILLRACE_DB_FRAME_H
#define MILLRACE_DB_FRAME_H

#include "db/db.h"

/* One request of the batch format, as db_append_begin's caller wrote it. */
struct frame_request
{
	const char *bytes;
	size_t len;
};

/* True when both append to a stream of the same name in the same namespace. */
bool frame_share_stream(struct frame_request a, struct frame_request b);

/* The verdicts on a batch, not yet read. */
struct frame_verdicts
{
	const char *at, *end;
	unsigned nrefused;
};

/* On one request.  Points into the frame. */
struct frame_verdict
{
	uint32_t nparts; /* 0: refused */
	const char *parts;
	char sqlstate[SQLSTATE_LEN + 1];
	uint32_t failed_part;
	int64_t expected, actual;
	const char *message;
	const char *stream, *type; /* SQLSTATE_APPEND_CONDITION_FAILED */
};

/* False: it isn't a frame of as many sound verdicts. */
bool frame_open_verdicts(struct frame_verdicts *verdicts, const char *bytes, size_t len, unsigned count);
bool frame_next_verdict(struct frame_verdicts *verdicts, struct frame_verdict *verdict);
void frame_read_part(const struct frame_verdict *verdict, unsigned part, struct db_part *out);

#endif

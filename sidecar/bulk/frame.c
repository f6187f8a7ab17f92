/*
 * frame.c: the bytes of a frame and where its records end (see frame.h).
 */
#include "bulk/frame.h"

#include <arpa/inet.h>
#include <string.h>

bool import_frame_is_full(const struct import_frame *frame)
{
	return frame->count == IMPORT_FRAME_RECORDS || frame->bytes.len >= IMPORT_FRAME_BYTES ||
		   frame->nstreams == MAX_STREAMS;
}

unsigned import_frame_whole(const struct import_frame *frame)
{
	if (frame->count < IMPORT_BATCH_RECORDS)
		return import_frame_is_full(frame) ? frame->count : 0;
	return frame->count - frame->count % IMPORT_BATCH_RECORDS;
}

void import_frame_clear(struct import_frame *frame)
{
	frame->count = frame->sent = frame->nstreams = 0;
	memset(frame->told, 0, sizeof(frame->told));
	memset(frame->streams, 0, sizeof(frame->streams));
	if (frame->bytes.cap > 2 * IMPORT_FRAME_BYTES)
		buf_free(&frame->bytes);
	buf_clear(&frame->bytes);
	buf_add_u8(&frame->bytes, IMPORT_VERSION_MARKS);
	buf_add_u32(&frame->bytes, 0);
}

/* ---- what is known of a record ------------------------------------------------------ */

static uint32_t read_u32(const char *bytes)
{
	uint32_t number;

	memcpy(&number, bytes, sizeof(number));
	return ntohl(number);
}

/* The FNV-1a hash of a name, of 64 bits; never 0. */
static uint64_t hash_name(const char *name, uint32_t len)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (uint32_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)name[i]) * UINT64_C(0x100000001b3);
	return hash != 0 ? hash : 1;
}

static void note_stream(struct import_frame *frame, uint64_t hash)
{
	size_t place = hash % IMPORT_FRAME_STREAMS;

	while (frame->streams[place] != 0 && frame->streams[place] != hash)
		place = (place + 1) % IMPORT_FRAME_STREAMS;
	frame->nstreams += frame->streams[place] == 0;
	frame->streams[place] = hash;
}

/* Takes note of a record that was added. */
static void note(struct import_frame *frame, const char *record)
{
	struct import_told *told = &frame->told[frame->count / IMPORT_BATCH_RECORDS];
	const char *stream = record + 1 + FRAME_ID_LEN;
	const char *type = stream + sizeof(uint32_t) + read_u32(stream) + 1;
	const char *position = type + sizeof(uint32_t) + read_u32(type) + 1;
	const char *global = position + sizeof(int64_t);
	int64_t global_position = (int64_t)((uint64_t)read_u32(global) << 32 | read_u32(global + 4));

	note_stream(frame, hash_name(stream + sizeof(uint32_t), read_u32(stream)));
	told->messages++;
	if (told->global_position < global_position)
		told->global_position = global_position;
}

/* Counts a record whose bytes, from `start` on, are in. */
static void count_record(struct import_frame *frame, size_t start, uint64_t line)
{
	const char *record = frame->bytes.data + start;

	if (*record == IMPORT_MESSAGE)
		note(frame, record);
	frame->ends[frame->count] = frame->bytes.len;
	frame->lines[frame->count] = line;
	frame->count++;
}

/* ---- records ------------------------------------------------------------------------- */

bool import_frame_add(struct import_frame *frame, struct slice line, uint64_t number,
					  struct import_fault *fault)
{
	size_t start = frame->bytes.len;

	if (!import_record_encode(line, frame->redacted, &frame->bytes, fault))
		return false;
	count_record(frame, start, number);
	return true;
}

void import_frame_move_rest(struct import_frame *frame, unsigned count, struct import_frame *rest)
{
	for (unsigned i = count; i < frame->count; i++)
	{
		size_t start = rest->bytes.len;

		buf_add(&rest->bytes, frame->bytes.data + frame->ends[i - 1], frame->ends[i] - frame->ends[i - 1]);
		if (rest->bytes.failed)
			return;
		count_record(rest, start, frame->lines[i]);
	}
	frame->count = count;
}

void import_frame_set_sent(struct import_frame *frame, unsigned count)
{
	uint32_t number = htonl(count);

	memcpy(frame->bytes.data + 1, &number, sizeof(number));
	frame->bytes.len = frame->ends[count - 1];
	frame->sent = count;
}

/*
 * fuzz_import_lines.c: lines are cut as a plainer reader does it that has all of the body at once, wherever
 * its bytes are cut, however often the receiver asks for a pause, and packed by zlib or not.
 *
 * The first byte of the input says how long a line may be (bits 0 and 1), how often the receiver pauses (2
 * and 3), and whether the rest comes as a gzip file (4: as it is, however broken; else it is also packed
 * here).
 */
#include "fuzz.h"
#include "bulk/lines.h"

struct taker
{
	struct buf seen; /* each line with its number */
	struct import_lines *lines;
	unsigned pause; /* after so many lines; 0 = never */
	unsigned taken;
};

static void note(struct buf *seen, uint64_t number, struct slice line)
{
	buf_add_i64(seen, (int64_t)number);
	buf_add_u32(seen, (uint32_t)line.len);
	buf_add(seen, line.bytes, line.len);
}

static bool take(void *arg, struct slice line)
{
	struct taker *taker = arg;

	note(&taker->seen, taker->lines->number, line);
	taker->taken++;
	return taker->pause == 0 || taker->taken % taker->pause != 0;
}

struct result
{
	struct buf seen;
	enum import_lines_fault fault;
	uint64_t number;
};

struct way
{
	size_t max_line;
	size_t step;
	unsigned pause;
	bool gzip;
};

static struct result split(struct slice bytes, const struct way *way)
{
	struct taker taker = {.pause = way->pause};
	struct import_lines lines = {.max_line = way->max_line, .take = take, .arg = &taker};
	struct result result;
	size_t pos = 0;

	taker.lines = &lines;
	require(import_lines_open(&lines, way->gzip));
	while (lines.fault == LINES_SOUND)
	{
		size_t n = bytes.len - pos < way->step ? bytes.len - pos : way->step;
		char *copy;
		size_t used;

		if (!import_lines_go_on(&lines))
			continue; /* a pause, or a fault */
		if (n == 0)
			break;
		copy = malloc(n);
		memcpy(copy, bytes.bytes + pos, n);
		used = import_lines_feed(&lines, (struct slice){copy, n});
		free(copy);
		require(used <= n);
		pos += used;
		require(lines.unfinished.len <= way->max_line);
	}
	import_lines_end(&lines);
	result = (struct result){taker.seen, lines.fault, lines.number};
	import_lines_close(&lines);
	return result;
}

static struct result oracle(struct slice bytes, size_t max_line)
{
	struct result result = {.fault = LINES_SOUND};
	size_t start = 0;

	while (start < bytes.len)
	{
		size_t end = start;
		size_t len;

		while (end < bytes.len && bytes.bytes[end] != '\n')
			end++;
		len = end - start;
		result.number++;
		if (len > max_line)
		{
			result.fault = LINES_TOO_LONG;
			return result;
		}
		if (result.number == 1 && len >= 3 && memcmp(bytes.bytes + start, "\xef\xbb\xbf", 3) == 0)
		{
			start += 3;
			len -= 3;
		}
		if (len > 0 && bytes.bytes[end - 1] == '\r')
			len--;
		for (size_t i = 0; i < len; i++)
		{
			if (strchr(" \t\r", bytes.bytes[start + i]) == NULL || bytes.bytes[start + i] == '\0')
			{
				note(&result.seen, result.number, (struct slice){bytes.bytes + start, len});
				break;
			}
		}
		start = end + 1;
	}
	return result;
}

static void require_same(const struct result *a, const struct result *b)
{
	require(a->fault == b->fault && a->number == b->number);
	require(fuzz_equal((struct slice){a->seen.data, a->seen.len}, (struct slice){b->seen.data, b->seen.len}));
}

static void check_ways(struct slice bytes, const struct result *expected, struct way way)
{
	size_t steps[] = {1, 3, bytes.len / 2 + 1, bytes.len + 1};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
	{
		struct result found;

		way.step = steps[i];
		found = split(bytes, &way);
		require_same(&found, expected);
		buf_free(&found.seen);
	}
}

/* As a gzip file of two members. */
static struct buf packed(struct slice bytes)
{
	struct buf out = {0};
	size_t half = bytes.len / 2;

	for (int member = 0; member < 2; member++)
	{
		struct slice part = member == 0 ? (struct slice){bytes.bytes, half}
										: (struct slice){bytes.bytes + half, bytes.len - half};
		z_stream z = {.next_in = (unsigned char *)part.bytes, .avail_in = (unsigned)part.len};
		unsigned char space[8192];

		require(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 1, Z_DEFAULT_STRATEGY) == Z_OK);
		z.next_out = space;
		z.avail_out = sizeof(space);
		require(deflate(&z, Z_FINISH) == Z_STREAM_END);
		buf_add(&out, space, sizeof(space) - z.avail_out);
		deflateEnd(&z);
	}
	return out;
}

/* A file that may be damaged: before the damage is noticed more or fewer lines may have come. */
static void check_gzip(struct slice bytes, struct way way)
{
	struct result whole, pieces;

	way.gzip = true;
	way.step = bytes.len + 1;
	whole = split(bytes, &way);
	way.step = 1;
	pieces = split(bytes, &way);
	if (whole.fault == LINES_SOUND)
		require_same(&whole, &pieces);
	else
	{
		size_t shorter = whole.seen.len < pieces.seen.len ? whole.seen.len : pieces.seen.len;

		require(pieces.fault != LINES_SOUND);
		require(
			fuzz_equal((struct slice){whole.seen.data, shorter}, (struct slice){pieces.seen.data, shorter}));
	}
	buf_free(&whole.seen);
	buf_free(&pieces.seen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t max_lines[] = {4, 20, 100, 100000};
	static const unsigned pauses[] = {0, 1, 2, 5};
	struct slice bytes = fuzz_slice(data + 1, size - 1);
	struct result expected;
	struct way way;
	struct buf file;

	if (size == 0 || size > 4000)
		return 0;
	way = (struct way){.max_line = max_lines[data[0] & 3], .pause = pauses[data[0] >> 2 & 3]};
	if (data[0] & 16)
	{
		check_gzip(bytes, way);
		return 0;
	}
	expected = oracle(bytes, way.max_line);
	check_ways(bytes, &expected, way);
	file = packed(bytes);
	way.gzip = true;
	check_ways((struct slice){file.data, file.len}, &expected, way);
	buf_free(&file);
	buf_free(&expected.seen);
	return 0;
}

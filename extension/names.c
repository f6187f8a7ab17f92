/*
 * names.c: category, id, cardinal id and hash of stream names.
 */
#include "postgres.h"

#include "common/md5.h"

#include "md5.h"
#include "names.h"

int
SliceCompare(Slice a, Slice b)
{
	int order = memcmp(a.bytes, b.bytes, Min(a.len, b.len));

	return order ? order : a.len - b.len;
}

bool
SliceEqual(Slice a, Slice b)
{
	return a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

static int
FindByte(Slice name, char byte)
{
	const char *found = name.len > 0 ? memchr(name.bytes, byte, name.len) : NULL;

	return found ? (int)(found - name.bytes) : -1;
}

Slice
NameCategory(Slice name)
{
	int dash = FindByte(name, '-');

	if (dash >= 0)
		name.len = dash;
	return name;
}

bool
NameStreamId(Slice name, Slice *id)
{
	int dash = FindByte(name, '-');

	if (dash < 0)
		return false;
	id->bytes = name.bytes + dash + 1;
	id->len = name.len - dash - 1;
	return true;
}

bool
NameCardinalId(Slice name, Slice *id)
{
	int plus;

	if (!NameStreamId(name, id))
		return false;
	plus = FindByte(*id, '+');
	if (plus >= 0)
		id->len = plus;
	return true;
}

int64
NameHash64(Slice name)
{
	uint8 digest[16];
	const char *reason = NULL;
	uint64 hash = 0;

	if (name.len <= MD5_SHORT_MAX)
		return (int64)Md5ShortPrefix(name.bytes, name.len);
	if (!pg_md5_binary(name.bytes, name.len, digest, &reason))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not compute MD5 hash: %s", reason ? reason : "unknown reason")));
	for (int i = 0; i < 8; i++)
		hash = (hash << 8) | digest[i];
	return (int64)hash;
}

bool
NameIsMembers(Slice name, int64 member, int64 size)
{
	Slice id;
	uint64 magnitude;
	int64 hash;

	if (!NameCardinalId(name, &id))
		return false;
	hash = NameHash64(id);
	/* abs() of the smallest bigint does not fit a bigint, but does fit this. */
	magnitude = hash < 0 ? 0 - (uint64)hash : (uint64)hash;
	return magnitude % (uint64)size == (uint64)member;
}

/*
 * names.c: category, id, cardinal id and hash of stream names.
 */
#include "postgres.h"

#include "base/md5.h"
#include "base/names.h"

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
	return (int64)Md5Prefix(name.bytes, name.len);
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

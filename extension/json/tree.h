/*
 * tree.h: jsonb composed of a tree of values.
 */
#ifndef MILLRACE_JSONTREE_H
#define MILLRACE_JSONTREE_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "base/names.h"

typedef struct JsonNode
{
	JEntry kind;  /* JENTRY_ISSTRING and the like, without a length */
	bool object;  /* a container that is an object */
	Slice key;	  /* of a member of an object */
	Slice value;  /* of a string, or a numeric with its head */
	int nmembers; /* of a container; of several with one key the last one counts */
	struct JsonNode *first;
	struct JsonNode *next; /* of the same container */
	int order;			   /* among those */
} JsonNode;

/* More than what a node takes in jsonb beside its value and its key. */
#define JSON_NODE_ROOM (2 * sizeof(JEntry) + sizeof(uint32) + 2 * sizeof(int32))

/*
 * Composes the jsonb of a container.  room: no less than JSON_NODE_ROOM and the bytes of value and key of
 * all nodes, and at most JENTRY_OFFLENMASK.
 */
extern Jsonb *JsonbFromTree(const JsonNode *root, Size room);

#endif

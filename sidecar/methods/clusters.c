/*
 * clusters.c: ns.list and sys.health, which are about all clusters that the directory knows.
 *
 * A cluster that is away must not hold up what is told of the others: of its namespaces only the names are
 * told, from the directory.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "methods/internal.h"

#define AWAY_MS 1000 /* without a connection */

bool method_system_health(struct method_call *call)
{
	struct places *places = call->methods->places;
	unsigned connections = 0;
	char text[100];

	for (struct place *place = places_next(places, 0); place != NULL;
		 place = places_next(places, place->cluster + 1))
		connections += db_connections(place->db);
	method_answer_text(call, text,
					   (size_t)snprintf(text, sizeof(text),
										"{\"status\":\"ok\",\"backend\":\"postgres\",\"connections\":%u}",
										connections));
	return true;
}

/* ---- ns.list ------------------------------------------------------------------------------------------- */

/* A namespace: its name, and what is told of it. */
struct row
{
	char *name, *json;
};

struct listing
{
	struct method_call *call;
	unsigned awaited; /* answers, and one until all are asked */
	struct row *rows;
	size_t nrows, capacity;
	bool failed; /* out of memory */
};

struct part
{
	struct listing *listing;
	const struct place *place;
	const char *cluster_name; /* set for take_name, which can't ask the directory */
};

/* Takes both, which have their NULs. */
static void add_row(struct listing *listing, struct buf *name, struct buf *json)
{
	if (listing->nrows == listing->capacity && !listing->failed)
	{
		size_t capacity = listing->capacity > 0 ? 2 * listing->capacity : 64;
		struct row *rows = realloc(listing->rows, capacity * sizeof(*rows));

		if (rows != NULL)
		{
			listing->rows = rows;
			listing->capacity = capacity;
		}
		listing->failed = rows == NULL;
	}
	listing->failed = listing->failed || name->failed || json->failed;
	if (!listing->failed)
	{
		listing->rows[listing->nrows++] = (struct row){name->data, json->data};
		return;
	}
	buf_free(name);
	buf_free(json);
}

static void add_cluster(const struct listing *listing, struct buf *json, unsigned cluster, const char *end)
{
	const char *name = directory_cluster_name(places_directory(listing->call->methods->places), cluster);

	buf_add_str(json, ",\"cluster\":");
	json_add_string(json, name, strlen(name));
	buf_add(json, end, strlen(end) + 1);
}

/* What the store has, unless it is another one that has the namespace. */
static void take_namespace(struct listing *listing, const struct place *place, struct slice object)
{
	struct json_iterator iterator;
	struct slice key, value;
	struct buf name = {0}, json = {0};
	struct placement placement;

	json_iterate(&iterator, object);
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, "namespace"))
			(void)json_decode(value, &name);
	}
	buf_add(&name, "", 1);
	directory_find(places_directory(listing->call->methods->places), name.failed ? "" : name.data,
				   &placement);
	if (placement.cluster != place->cluster)
	{
		buf_free(&name);
		return;
	}
	buf_add(&json, object.bytes, object.len - 1);
	add_cluster(listing, &json, place->cluster, "}");
	add_row(listing, &name, &json);
}

/* One of a cluster that is away. */
static void take_name(void *arg, const char *namespace_name, unsigned cluster)
{
	const struct part *part = arg;
	struct buf name = {0}, json = {0};

	if (cluster != part->place->cluster)
		return;
	buf_add(&name, namespace_name, strlen(namespace_name) + 1);
	buf_add_str(&json, "{\"namespace\":");
	json_add_string(&json, namespace_name, strlen(namespace_name));
	buf_add_str(&json, ",\"cluster\":");
	json_add_string(&json, part->cluster_name, strlen(part->cluster_name));
	buf_add(&json, ",\"reachable\":false}", sizeof(",\"reachable\":false}"));
	add_row(part->listing, &name, &json);
}

static int compare_rows(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static void answer(struct listing *listing)
{
	struct method_call *call = listing->call;
	struct buf text = {0};

	if (listing->nrows > 0)
		qsort(listing->rows, listing->nrows, sizeof(*listing->rows), compare_rows);
	buf_add_str(&text, "[");
	for (size_t i = 0; i < listing->nrows; i++)
	{
		buf_add_str(&text, i > 0 ? "," : "");
		buf_add_str(&text, listing->rows[i].json);
		free(listing->rows[i].name);
		free(listing->rows[i].json);
	}
	buf_add_str(&text, "]");
	free(listing->rows);
	if (listing->failed || text.failed)
	{
		method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
		method_answer_error(call);
	}
	else
		method_answer_text(call, text.data, text.len);
	buf_free(&text);
	free(listing);
}

static void leave(struct listing *listing)
{
	if (--listing->awaited == 0)
		answer(listing);
}

static void take_names(struct part *part)
{
	struct directory *directory = places_directory(part->listing->call->methods->places);

	part->cluster_name = directory_cluster_name(directory, part->place->cluster);
	directory_walk(directory, take_name, part);
}

static void on_listed(void *arg, struct db_reply *reply)
{
	struct part *part = arg;
	struct json_iterator iterator;
	struct slice object;

	if (reply->status == DB_OK)
	{
		json_iterate(&iterator, json_trim(db_json_of(reply)));
		while (json_next_element(&iterator, &object))
			take_namespace(part->listing, part->place, object);
	}
	else
		take_names(part);
	leave(part->listing);
	free(part);
}

static void ask_place(struct listing *listing, const struct place *place)
{
	struct part *part = malloc(sizeof(*part));

	if (part == NULL)
	{
		listing->failed = true;
		return;
	}
	*part = (struct part){.listing = listing, .place = place};
	if (db_outage_ms(place->db) < AWAY_MS && db_list_namespaces(place->db, on_listed, part))
	{
		listing->awaited++;
		return;
	}
	take_names(part);
	free(part);
}

bool method_namespace_list(struct method_call *call)
{
	struct places *places = call->methods->places;
	struct directory *directory = places_directory(places);
	struct listing *listing;

	if (directory == NULL)
		return method_asked(call, db_list_namespaces(call->db, method_on_value, call));
	listing = calloc(1, sizeof(*listing));
	if (listing == NULL)
		return method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
	*listing = (struct listing){.call = call, .awaited = 1};
	for (unsigned i = 0; i < directory_clusters(directory); i++)
	{
		const struct place *place = places_open(places, i);

		if (place != NULL)
			ask_place(listing, place);
	}
	leave(listing);
	return true;
}

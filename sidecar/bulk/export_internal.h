/*
 * export_internal: what the files of exports share.
 */
#ifndef MILLRACE_EXPORT_INTERNAL_H
#define MILLRACE_EXPORT_INTERNAL_H

#include "bulk/export.h"

#include <stdbool.h>
#include <stdint.h>
#define ZLIB_CONST
#include <zlib.h>

#include "base/buf.h"
#include "base/errors.h"
#include "db/calls_bulk.h"
#include "places/places.h"

struct export
{
	struct place_wait wait; /* for the namespace; first: we cast */
	struct places *places;
	struct db *db;
	struct http_request *request;
	char namespace_name[MAX_NAMESPACE_NAME + 1];
	int64_t position; /* where the next page begins */
	struct db_reading reading;
	struct db_optional since, until, before;
	struct buf categories; /* an array literal, with its NUL; empty = all */
	struct buf query;	   /* with its NUL; empty = none */
	bool started;		   /* the reply is under way */
	bool last;			   /* the page just sent was the last one */
	bool messages_ended;
	int64_t last_exported;	/* global position, 0 = none */
	char began[DB_XID_LEN]; /* see db_exported; empty before the first page */
	struct buf after;		/* where the end's last page ended, with its NUL; empty = before the first */
	bool cloudevents;
	struct buf converted; /* with cloudevents: the page that is being sent */
	bool gzip;
	z_stream deflater;	 /* with gzip */
	struct buf deflated; /* of the page that is being sent */
};

/* Takes what the request's parameters say; false: *error says what is wrong with them. */
bool export_read_request(struct export *export, struct error *error);

#endif

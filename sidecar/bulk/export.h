/*
 * export: GET /export, a namespace as NDJSON (README.md, "Import and export").
 *
 * Postgres makes the lines, in pages of about a MiB; the next page is asked for when the client has
 * read most of the one before, so an export of any size takes the memory of one page.
 */
#ifndef MILLRACE_EXPORT_H
#define MILLRACE_EXPORT_H

#include <stddef.h>

struct http_request;
struct place;
struct places;

/*
 * Makes the reply to a request whose token opens the namespace, now or later; OVERLOADED when `max_running`
 * exports of this worker are running.
 */
void export_start(struct places *places, const struct place *place, const char *namespace_name,
				  size_t max_running, struct http_request *request);

#endif

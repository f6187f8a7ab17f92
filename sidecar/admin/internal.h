/*
 * admin_internal: what the files of the admin family share; nobody else includes it.
 *
 *     admin.c        the listener, the table of routes, /live and /ready
 *     connections.c  /debug/connections
 *     table.c        the form of its tables
 *     pprof.c        /debug/pprof
 *     metrics.c      /metrics
 *     files.c        what it says of the disk and of the certificate
 *     process.c      what it says of the process itself
 *
 * Everything here runs on the main thread, whose loop must keep turning: a handler replies at once or
 * keeps the request and replies later, from an event.
 */
#ifndef MILLRACE_ADMIN_INTERNAL_H
#define MILLRACE_ADMIN_INTERNAL_H

#include <event2/event.h>
#include <event2/http.h>
#include <stdbool.h>
#include <sys/queue.h>

struct admin_inquiry;
struct admin_profile;
struct buf;
struct embedded;
struct evkeyvalq;
struct scrape;
struct tls;
struct worker;

struct admin
{
	struct event_base *base;
	struct evhttp *http;
	struct worker *const *workers; /* the server's */
	unsigned nworkers;
	const char *allowed_hosts;
	LIST_HEAD(inquiry_list, admin_inquiry) inquiries; /* that wait for their answers */
	struct admin_profile *profile;					  /* that is being taken */
	bool draining;
	const struct embedded *embedded;		/* NULL: the database is somebody else's */
	const struct tls *tls;					/* NULL: without */
	LIST_HEAD(scrape_list, scrape) scrapes; /* that wait for their answers */
};

/* Takes the body, which may be NULL, out of the caller's evbuffer; the buffer itself stays the caller's. */
void admin_reply(struct evhttp_request *request, int status, const char *content_type, struct evbuffer *body);
void admin_reply_bytes(struct evhttp_request *request, const char *content_type, const struct buf *bytes);
/* A line of text that says what is wrong. */
void admin_refuse(struct evhttp_request *request, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* What stands behind the question mark, for evhttp_clear_headers; false: it is malformed, and that was replied. */
bool admin_query(struct evhttp_request *request, struct evkeyvalq *query);
/* Ends a request that was kept, without a reply, before the listener itself ends. */
void admin_forget(struct evhttp_request *request);

/* Handlers of routes, and what ends all that they left waiting. */
void admin_connections(struct admin *admin, struct evhttp_request *request);
void admin_connections_end(struct admin *admin);
void admin_pprof_profile(struct admin *admin, struct evhttp_request *request);
void admin_pprof_heap(struct admin *admin, struct evhttp_request *request);
void admin_pprof_allocs(struct admin *admin, struct evhttp_request *request);
void admin_pprof_end(struct admin *admin);
void admin_metrics(struct admin *admin, struct evhttp_request *request);
void admin_metrics_end(struct admin *admin);

void admin_add_process_metrics(struct buf *out);
void admin_add_file_metrics(struct buf *out, const struct admin *admin);
/* So nothing is appended, whatever the workers have noticed of it. */
bool admin_disk_is_full(const struct admin *admin);

#endif

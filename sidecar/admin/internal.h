/*
 * admin_internal: what the files of admin/ share.
 *
 *     admin.c        the listener, the table of routes, /live and /ready
 *     clusters.c     what /ready and /metrics say of several clusters
 *     reply.c        the form of replies
 *     connections.c  /debug/connections
 *     table.c        the form of its tables
 *     pprof.c        /debug/pprof
 *     metrics.c      /metrics
 *     consumers.c    what it says of consumers
 *     files.c        what it says of the disk and of the certificate
 *     process.c      what it says of the process itself
 *
 * Everything here runs on the main thread, whose loop must keep turning: a handler replies at once or
 * keeps the request and replies later, from an event.
 */
#ifndef MILLRACE_ADMIN_INTERNAL_H
#define MILLRACE_ADMIN_INTERNAL_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "http/http.h"
#include "serve/inquiry.h"

struct admin_profile;
struct directory;
struct embedded;
struct stats;
struct tls;

struct admin
{
	struct http_server *http;
	struct stats *stats;	  /* of its own listener, and shown nowhere */
	struct inquirer inquirer; /* its base and workers are the server's */
	const char *allowed_hosts;
	struct admin_profile *profile; /* that is being taken */
	bool draining;
	const struct embedded *embedded; /* NULL: with --database */
	const struct tls *tls;			 /* NULL: without */
	struct directory *directory;	 /* the same */
};

#define ADMIN_TEXT "text/plain; charset=utf-8"

/* Takes the bytes, and leaves the buffer empty; when it has failed, that is the reply. */
void admin_reply(struct http_request *request, const char *content_type, struct buf *bytes);
/* A line of text that says what is wrong. */
void admin_refuse(struct http_request *request, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Inquiries whose `owner` is the admin and whose `request` is a struct http_request; NULL: it was refused. */
struct inquiry *admin_inquiry(struct admin *admin, struct http_request *request,
							  const struct inquiry_kind *kind);
void admin_end_inquiry(struct inquiry *inquiry); /* an inquiry_kind.end */

/* Handlers of routes. */
void admin_connections(struct admin *admin, struct http_request *request);
void admin_pprof_profile(struct admin *admin, struct http_request *request);
void admin_pprof_heap(struct admin *admin, struct http_request *request);
void admin_pprof_allocs(struct admin *admin, struct http_request *request);
void admin_metrics(struct admin *admin, struct http_request *request);

/* /ready with a directory. */
void admin_ready_by_cluster(struct admin *admin, struct http_request *request, bool reads);
/* What /metrics says of clusters and of the directory; nothing without one. */
void admin_add_cluster_metrics(struct buf *out, const struct admin *admin);
/* What /metrics says of the process, and of the disk and the certificate. */
void admin_add_process_metrics(struct buf *out);
void admin_add_file_metrics(struct buf *out, const struct admin *admin);
/* Whether it is, so that nothing is appended, whether or not the workers have met it. */
bool admin_disk_is_full(const struct admin *admin);

#endif

/*
 * admin_internal: what the files of the admin family share; nobody else includes it.
 *
 *     admin.c              the listener, the table of routes, /live and /ready
 *
 * Everything here runs on the main thread, whose loop must keep turning: a handler replies at once or
 * keeps the request and replies later, from an event.
 */
#ifndef MILLRACE_ADMIN_INTERNAL_H
#define MILLRACE_ADMIN_INTERNAL_H

#include <event2/event.h>
#include <event2/http.h>

struct worker;

struct admin
{
	struct event_base *base;
	struct evhttp *http;
	struct worker *const *workers; /* the server's */
	unsigned nworkers;
};

/* Takes the body, which may be NULL, out of the caller's evbuffer; the buffer itself stays the caller's. */
void admin_reply(struct evhttp_request *request, int status, const char *content_type, struct evbuffer *body);
/* A line of text that says what is wrong. */
void admin_refuse(struct evhttp_request *request, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif

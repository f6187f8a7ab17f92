/*
 * import_options: what a request on /import asks for: ?force, ?progress, Content-Encoding.
 */
#ifndef MILLRACE_IMPORT_OPTIONS_H
#define MILLRACE_IMPORT_OPTIONS_H

#include <stdbool.h>

struct http_request;

struct import_options
{
	bool force;	   /* the namespace is emptied first */
	bool progress; /* the reply begins at once */
	bool gzip;	   /* the body is compressed */
};

/* 0, or the HTTP status of what is wrong, which `problem` says. */
int import_options_read(struct import_options *options, struct http_request *request, char problem[200]);

#endif

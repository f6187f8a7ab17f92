/*
 * page: the web page at /ui/, which is part of the program (ui/, --ui).
 *
 * Its files are served as they were compressed, and inflated for who takes no gzip.  A path below /ui/ that
 * is no file's is one of the page's own views, so it is answered with the page; but one that looks like a
 * file is not.
 */
#ifndef MILLRACE_PAGE_H
#define MILLRACE_PAGE_H

#include <stdbool.h>

#include "base/slice.h"

struct http_request;

/* Whether the path is /ui or below it. */
bool page_has(struct slice path);

/* Answers GET and HEAD of such a path.  False: there is nothing there, and nothing was replied. */
bool page_reply(struct http_request *request);

#endif

/*
 * rights: what a token may do in its namespace (README.md, "Rights").
 */
#ifndef MILLRACE_RIGHTS_H
#define MILLRACE_RIGHTS_H

struct error;

enum right
{
	RIGHT_NONE = 0, /* a token suffices */
	RIGHT_READ = 1,
	RIGHT_APPEND = 2,
	RIGHT_REMOVE = 4,
	RIGHT_ADMINISTER = 8,	  /* its tokens */
	RIGHT_ADMINISTRATOR = 16, /* the same of namespace default, and with it all namespaces */
};

/* All of a namespace's own. */
#define RIGHTS_ALL (RIGHT_READ | RIGHT_APPEND | RIGHT_REMOVE | RIGHT_ADMINISTER)

/* Its name; "" for those without one. */
const char *right_name(enum right right);
/* Sets the error for a token without the right that something needs. */
void right_missing(struct error *error, const char *what, enum right right);
/* The rights that a text names, an array literal for one. */
unsigned rights_read(const char *text);

#endif

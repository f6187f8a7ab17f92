/*
 * names: what a stream's name says (README.md, "Names and consumer groups").  The extension has the same
 * rules in its own names.c.
 */
#ifndef MILLRACE_NAMES_H
#define MILLRACE_NAMES_H

#include "base/slice.h"

/* The category of a stream: its name up to the first dash, or all of it. */
struct slice name_category(struct slice stream);

#endif

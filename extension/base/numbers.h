/*
 * numbers.h: numbers of JSON.
 */
#ifndef MILLRACE_NUMBERS_H
#define MILLRACE_NUMBERS_H

#include "postgres.h"

#include "utils/numeric.h"

/* Takes a whole number, at least `least`, that fits; false: it is another one. */
extern bool NumberToInt64(Numeric number, int64 least, int64 *value);

/* The number as text for an error; a long one is cut off. */
extern const char *NumberText(Numeric number);

#endif

/*
 * in.h: JSON text to jsonb.
 */
#ifndef MILLRACE_JSONIN_H
#define MILLRACE_JSONIN_H

#include "postgres.h"

#include "utils/jsonb.h"

extern Jsonb *JsonbFromText(const char *json, size_t len);

#endif

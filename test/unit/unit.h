/*
 * unit: what every unit test needs of cmocka, in the order that its header asks for.
 */
#ifndef MILLRACE_UNIT_H
#define MILLRACE_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#endif

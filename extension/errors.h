/*
 * errors.h: the SQLSTATEs of Millrace.
 *
 * The sidecar maps them to RPC codes in one table (sidecar/base/errors.c); extension/README.md
 * lists them for users.  What Postgres has a SQLSTATE for keeps Postgres's.
 */
#ifndef MILLRACE_ERRORS_H
#define MILLRACE_ERRORS_H

#include "utils/elog.h"

#define ERRCODE_MILLRACE_WRONG_EXPECTED_VERSION MAKE_SQLSTATE('M', 'R', '0', '0', '1')
#define ERRCODE_MILLRACE_MESSAGE_ID_CONFLICT MAKE_SQLSTATE('M', 'R', '0', '0', '2')
#define ERRCODE_MILLRACE_NAMESPACE_NOT_FOUND MAKE_SQLSTATE('M', 'R', '0', '0', '3')
#define ERRCODE_MILLRACE_NAMESPACE_EXISTS MAKE_SQLSTATE('M', 'R', '0', '0', '4')
#define ERRCODE_MILLRACE_NULL_ARGUMENT MAKE_SQLSTATE('M', 'R', '0', '0', '5')
#define ERRCODE_MILLRACE_EMPTY_NAME MAKE_SQLSTATE('M', 'R', '0', '0', '6')
#define ERRCODE_MILLRACE_TOO_LONG MAKE_SQLSTATE('M', 'R', '0', '0', '7')
#define ERRCODE_MILLRACE_NOT_AN_OBJECT MAKE_SQLSTATE('M', 'R', '0', '0', '8')
#define ERRCODE_MILLRACE_OUT_OF_RANGE MAKE_SQLSTATE('M', 'R', '0', '0', '9')
#define ERRCODE_MILLRACE_UNUSABLE_TABLE MAKE_SQLSTATE('M', 'R', '0', '1', '0')
#define ERRCODE_MILLRACE_MALFORMED_BATCH MAKE_SQLSTATE('M', 'R', '0', '1', '1')
#define ERRCODE_MILLRACE_DEFAULT_NAMESPACE MAKE_SQLSTATE('M', 'R', '0', '1', '2')
#define ERRCODE_MILLRACE_POSITION_EXISTS MAKE_SQLSTATE('M', 'R', '0', '1', '3')
#define ERRCODE_MILLRACE_POSITION_OUT_OF_RANGE MAKE_SQLSTATE('M', 'R', '0', '1', '4')

#endif

/*
 * notation: types in short, and the JSON Schema that they stand for.
 *
 *     string          any; string(1..200): so many characters
 *     integer         any; integer(-1..10000), integer(0..): within these bounds
 *     boolean         number, object, null, any
 *     time, uuid      a string of that form
 *     Message         a capital letter: one of components.schemas
 *     'a'|'b'         one of these strings
 *     (T|U)           a value of one of these types
 *     [T]             an array of T; [T](1..1000): of so many elements
 *     <T,U>           an array of exactly these
 *     {a:T,b?:U}      an object with these members, of which b may be absent
 *     {*:T}           an object whose members are all T
 *
 * Behind any of them: =V, what counts when it is absent, and then `what it is`.
 */
#ifndef MILLRACE_METHODS_NOTATION_H
#define MILLRACE_METHODS_NOTATION_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

/*
 * Appends the schema of a type; `closed`: of objects that have no other members.  Returns what is behind it,
 * the end of its line if all of that is in this notation.
 */
const char *notation_add_schema(struct buf *out, const char *type, bool closed);
/* Appends JSON that is written with ' in place of ". */
void notation_add_json(struct buf *out, struct slice text);

#endif

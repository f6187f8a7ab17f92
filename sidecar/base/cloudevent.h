/*
 * cloudevent: messages as events of CloudEvents 1.0, in its JSON format (README.md, "CloudEvents").
 */
#ifndef MILLRACE_CLOUDEVENT_H
#define MILLRACE_CLOUDEVENT_H

#include "base/buf.h"
#include "base/slice.h"

/* JSON texts of a message's parts. */
struct cloudevent
{
	struct slice id, stream, type, position, global_position, data, metadata, time;
};

/* The parts of a message as reads of a category have it, an array of eight. */
struct cloudevent cloudevent_of_message(struct slice message);
/* The same of a line of an export. */
struct cloudevent cloudevent_of_line(struct slice line);
void cloudevent_write(struct buf *out, const char *namespace_name, const struct cloudevent *event);

#endif

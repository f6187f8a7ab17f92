/*
 * message_db.h: what the Message DB functions share.
 */
#ifndef MILLRACE_MESSAGE_DB_H
#define MILLRACE_MESSAGE_DB_H

#include "postgres.h"

#include "api/api.h"
#include "api/read.h"
#include "core/read.h"

/* message_db.c */
extern const MessageFunction *const message_db_functions[];
extern bool MessageDbDebug(const char *setting);
extern void MessageDbNotice(const char *label, const char *value);

/* message_db/condition.c */
extern char *MessageDbCommand(Oid schema, const ReadRequest *request, const char *condition);
extern void MessageDbReadBySql(Store *store, const ReadRequest *request, const char *command, ResultSet *set);

#endif

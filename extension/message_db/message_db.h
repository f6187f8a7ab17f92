/*
 * message_db.h: what the Message DB functions share.
 */
#ifndef MILLRACE_MESSAGE_DB_H
#define MILLRACE_MESSAGE_DB_H

#include "postgres.h"

#include "api/api.h"
#include "api/read.h"
#include "core/read.h"

/* message_db/message_db.c */
extern Oid MessageDbSchema(FunctionCallInfo fcinfo);
extern Store *MessageDbOpen(FunctionCallInfo fcinfo, StoreMode mode);
extern void MessageDbPushSnapshot(void);
extern bool MessageDbParseUuid(const char *source, pg_uuid_t *id);
extern bool MessageDbHasDash(text *name);
extern char *MessageDbArgText(FunctionCallInfo fcinfo, int arg);
extern char *MessageDbArgInt64Text(FunctionCallInfo fcinfo, int arg);
extern char *MessageDbInt64Text(int64 value);
extern bool MessageDbDebug(const char *setting);
extern void MessageDbNotice(const char *label, const char *value);

/* message_db/read.c */
extern const MessageFunction *const message_db_functions[];

/* message_db/condition.c */
extern char *MessageDbCommand(Oid schema, const ReadRequest *request, const char *condition);
extern void MessageDbReadBySql(Store *store, const ReadRequest *request, const char *command, ResultSet *set);

#endif

/*
 * system.c: sys.version and sys.health.
 */
#include <stdio.h>

#include "methods/internal.h"
#include "base/version.h"

bool method_system_version(struct method_call *call)
{
	static const char text[] = "\"" MILLRACE_VERSION "\"";

	method_answer_text(call, text, sizeof(text) - 1);
	return true;
}

bool method_system_health(struct method_call *call)
{
	char text[100];
	int len = snprintf(text, sizeof(text), "{\"status\":\"ok\",\"backend\":\"postgres\",\"connections\":%u}",
					   db_connections(call->methods->db));

	method_answer_text(call, text, (size_t)len);
	return true;
}

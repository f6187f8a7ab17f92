/*
 * embedded_environment: what the environment has for other servers; see embedded_internal.h.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "serve/embedded_internal.h"

static const char *find_libpq_variable(void)
{
	for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
	{
		if (strncmp(*variable, "PG", 2) == 0)
			return *variable;
	}
	return NULL;
}

bool embedded_forget_environment(void)
{
	const char *variable;

	while ((variable = find_libpq_variable()) != NULL)
	{
		char *name = strndup(variable, strcspn(variable, "="));
		bool forgotten = name != NULL && unsetenv(name) == 0;

		free(name);
		if (!forgotten)
			return false;
	}
	return unsetenv("LANGUAGE") == 0 && setenv("LC_ALL", "C", 1) == 0;
}

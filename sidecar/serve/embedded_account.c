/*
 * embedded_account: a name for a user that has none; see embedded_internal.h.
 *
 * initdb and Postgres in single-user mode look up the name of the user that runs them, and end when there is
 * none, as in a container that is started with a number for its user.  They do nothing with it, as we name
 * the database's user.  So they get a getpwuid() that knows one: preload/getpwuid.c, a library that is a part
 * of this program, from memory, as no folder may be written that programs may also be loaded from.
 */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "serve/embedded_internal.h"

#define PRELOAD "LD_PRELOAD="

__asm__(".section .rodata\n"
		".global embedded_getpwuid, embedded_getpwuid_len\n"
		"embedded_getpwuid:\n"
		".incbin \"" MILLRACE_PRELOAD "\"\n"
		"0: .balign 8\n"
		"embedded_getpwuid_len: .quad 0b - embedded_getpwuid\n"
		".previous\n");

extern const char embedded_getpwuid[];
extern const uint64_t embedded_getpwuid_len;

/* Our environment with the library in it; NULL: out of memory. */
static char **make_environment(char *preload)
{
	size_t count = 0;
	char **made;

	while (environ[count] != NULL)
		count++;
	made = calloc(count + 2, sizeof(*made));
	if (made == NULL)
		return NULL;
	made[0] = preload;
	for (size_t from = 0, to = 1; from < count; from++)
	{
		if (strncmp(environ[from], PRELOAD, strlen(PRELOAD)) != 0)
			made[to++] = environ[from];
	}
	return made;
}

bool embedded_lend_account(const struct embedded *embedded, struct embedded_account *account)
{
	size_t len = embedded_getpwuid_len;
	const char *others = getenv("LD_PRELOAD");

	*account = (struct embedded_account){.library = -1};
	if (getpwuid(embedded->dir.uid) != NULL)
		return true;
	account->library = memfd_create("millrace-getpwuid", MFD_CLOEXEC);
	if (account->library < 0 || write(account->library, embedded_getpwuid, len) != (ssize_t)len ||
		asprintf(&account->preload, PRELOAD "/proc/self/fd/%d%s%s", account->library, others ? ":" : "",
				 others ? others : "") < 0)
	{
		account->preload = NULL;
		embedded_return_account(account);
		return false;
	}
	account->environment = make_environment(account->preload);
	if (account->environment != NULL)
		return true;
	embedded_return_account(account);
	return false;
}

void embedded_return_account(struct embedded_account *account)
{
	if (account->library >= 0)
		close(account->library);
	free(account->environment);
	free(account->preload);
}

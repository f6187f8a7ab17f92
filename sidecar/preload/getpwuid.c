/*
 * getpwuid, in the place of the C library's, for programs whose user has no entry in /etc/passwd; see
 * embedded_account.c.
 */
#include <pwd.h>

struct passwd *getpwuid(uid_t uid)
{
	static char name[] = "millrace", password[] = "x", comment[] = "", home[] = "/", shell[] = "/bin/sh";
	static struct passwd entry;

	entry = (struct passwd){
		.pw_name = name,
		.pw_passwd = password,
		.pw_uid = uid,
		.pw_gecos = comment,
		.pw_dir = home,
		.pw_shell = shell,
	};
	return &entry;
}

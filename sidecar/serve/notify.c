/*
 * notify: the service manager's socket; see notify.h.
 */
#include "serve/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

void notify_open(struct notify *notify)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path != NULL ? strlen(path) : 0;

	*notify = (struct notify){.address.sun_family = AF_UNIX};
	if (len == 0)
		return;
	/* Other kinds, such as vsock:, are for virtual machines. */
	if ((path[0] == '/' || path[0] == '@') && len < sizeof(notify->address.sun_path))
	{
		memcpy(notify->address.sun_path, path, len);
		if (path[0] == '@') /* a name in the abstract namespace */
			notify->address.sun_path[0] = '\0';
		notify->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	}
	else
		log_warning("NOTIFY_SOCKET is no address of a Unix socket: %s", path);
	unsetenv("NOTIFY_SOCKET");
}

void notify_send(const struct notify *notify, const char *state)
{
	int fd;

	if (notify->len == 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&notify->address,
						 notify->len) < 0)
		log_warning("could not tell the service manager %s: %s", state, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/*
 * http_transport: bytes to and from a client's socket.  Nothing else reads from it or writes to it.
 *
 * Sockets are used directly and not through bufferevents: a bufferevent asks FIONREAD before every read and
 * writes only after another turn through epoll, which is five system calls a request
 * instead of two.
 */
#ifndef MILLRACE_HTTP_TRANSPORT_H
#define MILLRACE_HTTP_TRANSPORT_H

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct transport
{
	int fd;
};

/* Like recv: 0 at the end of input; -1 and errno, see transport_must_wait. */
static inline ssize_t transport_receive(struct transport *transport, void *bytes, size_t len)
{
	return recv(transport->fd, bytes, len, 0);
}

/* Like sendmsg. */
static inline ssize_t transport_send(struct transport *transport, struct iovec *vectors, size_t n)
{
	struct msghdr message = {.msg_iov = vectors, .msg_iovlen = n};

	return sendmsg(transport->fd, &message, MSG_NOSIGNAL);
}

/* Whether the call that just failed may succeed later. */
static inline bool transport_must_wait(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

#endif

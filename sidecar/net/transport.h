/*
 * transport: bytes to and from a client's socket, in clear or through TLS.  Nothing else reads from the
 * socket or writes to it.
 *
 * Sockets are used directly and not through bufferevents: a bufferevent asks FIONREAD before every read and
 * writes only after another turn through epoll, which is five system calls a request
 * instead of two.
 *
 * Over TLS the calls below mean the same as in clear, with two differences.  What OpenSSL has taken from the
 * socket does not make the socket readable again: see transport_has_pending.  And reading may have to wait
 * for the socket to take something: see wants_write.
 */
#ifndef MILLRACE_TRANSPORT_H
#define MILLRACE_TRANSPORT_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/stats.h"

struct ssl_st;
struct tls;

struct transport
{
	int fd;
	struct ssl_st *ssl;			  /* owned; NULL = in clear */
	bool wants_write;			  /* what just had to wait goes on when the socket is writable */
	bool no_notice;				  /* TLS's own word for the end must not, or cannot, be sent */
	struct stats *stats;		  /* the worker's */
	uint64_t bytes_in, bytes_out; /* as the callers below see them, not as TLS packs them */
};

enum transport_progress
{
	TRANSPORT_DONE,
	TRANSPORT_WAITS,
	TRANSPORT_CLEAR, /* the client speaks plain HTTP; so does the transport from now on */
	TRANSPORT_BROKEN,
};

/* Begins TLS on the socket; false: out of memory. */
bool transport_start_tls(struct transport *transport, struct tls *tls);
/* Until it is done nothing may be sent or received. */
enum transport_progress transport_handshake(struct transport *transport);
/* Tells the client that no more comes. */
void transport_shut(struct transport *transport);
/* Makes the client see a broken connection and no regular end; transport_close must follow. */
void transport_reset(struct transport *transport);
/* Not `complete`: the client must not take what it has got for all. */
void transport_close(struct transport *transport, bool complete);

ssize_t transport_receive_tls(struct transport *transport, void *bytes, size_t len);
ssize_t transport_send_tls(struct transport *transport, const struct iovec *vectors, size_t n);
bool transport_has_pending_tls(const struct transport *transport);

/* What was received or sent counts for the connection and for the worker; -1 is a failure. */
static inline void transport_count(uint64_t *own, stats_value *all, ssize_t bytes)
{
	if (bytes <= 0)
		return;
	*own += (uint64_t)bytes;
	stats_add(all, (uint64_t)bytes);
}

/* Like recv: 0 at the end of input; -1 and errno, see transport_must_wait. */
static inline ssize_t transport_receive(struct transport *transport, void *bytes, size_t len)
{
	ssize_t received = transport->ssl != NULL ? transport_receive_tls(transport, bytes, len)
											  : recv(transport->fd, bytes, len, 0);

	transport_count(&transport->bytes_in, &transport->stats->bytes_in, received);
	return received;
}

/* Like sendmsg.  After a failure no less may be offered again than before, and no other bytes. */
static inline ssize_t transport_send(struct transport *transport, struct iovec *vectors, size_t n)
{
	struct msghdr message = {.msg_iov = vectors, .msg_iovlen = n};
	ssize_t sent = transport->ssl != NULL ? transport_send_tls(transport, vectors, n)
										  : sendmsg(transport->fd, &message, MSG_NOSIGNAL);

	transport_count(&transport->bytes_out, &transport->stats->bytes_out, sent);
	return sent;
}

/* Whether the call that just failed may succeed later. */
static inline bool transport_must_wait(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* Whether there is more to receive, for which the socket does not become readable. */
static inline bool transport_has_pending(const struct transport *transport)
{
	return transport->ssl != NULL && transport_has_pending_tls(transport);
}

/* Takes what comes, whatever it is, for nothing; like recv. */
static inline ssize_t transport_discard(struct transport *transport, void *scratch, size_t len)
{
	return recv(transport->fd, scratch, len, 0);
}

#endif

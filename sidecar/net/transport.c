/*
 * transport.c: what is different when a connection speaks TLS (see transport.h).
 *
 * The client may be asked for nothing in the middle of a connection (there is no renegotiation), so only the
 * handshake and reading can wait for the other direction.
 */
#include "net/transport.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/tls.h"

#define RECORD_BYTES 16384 /* the largest record's */
#define MAX_RECORDS 16	   /* sent in one call: other connections wait meanwhile */

bool transport_start_tls(struct transport *transport, struct tls *tls)
{
	transport->ssl = tls_accept(tls, transport->fd);
	return transport->ssl != NULL;
}

/* What a call into OpenSSL that returned `result` means, as recv and send would say it. */
static ssize_t explain(struct transport *transport, int result)
{
	switch (SSL_get_error(transport->ssl, result))
	{
		case SSL_ERROR_WANT_READ:
		case SSL_ERROR_WANT_WRITE:
			errno = EAGAIN;
			return -1;
		case SSL_ERROR_ZERO_RETURN:
			return 0;
		case SSL_ERROR_SYSCALL:
			transport->no_notice = true;
			return errno == 0 ? 0 : -1;
		default:
			transport->no_notice = true;
			errno = EPROTO;
			return -1;
	}
}

static void forget_tls(struct transport *transport)
{
	SSL_free(transport->ssl);
	transport->ssl = NULL;
	ERR_clear_error();
}

enum transport_progress transport_handshake(struct transport *transport)
{
	int result;

	ERR_clear_error();
	errno = 0;
	result = SSL_do_handshake(transport->ssl);
	transport->wants_write = SSL_want_write(transport->ssl);
	if (result == 1)
		return TRANSPORT_DONE;
	if (explain(transport, result) < 0 && transport_must_wait())
		return TRANSPORT_WAITS;
	if (ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_SSL &&
		ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST)
	{
		forget_tls(transport);
		return TRANSPORT_CLEAR;
	}
	log_debug("a TLS handshake failed: %s", tls_reason());
	return TRANSPORT_BROKEN;
}

void transport_shut(struct transport *transport)
{
	if (transport->ssl != NULL && !transport->no_notice)
	{
		ERR_clear_error();
		SSL_shutdown(transport->ssl);
	}
	transport->no_notice = true;
	shutdown(transport->fd, SHUT_WR);
}

void transport_reset(struct transport *transport)
{
	struct linger reset = {.l_onoff = 1};

	setsockopt(transport->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	transport->no_notice = true;
}

void transport_close(struct transport *transport, bool complete)
{
	if (transport->ssl != NULL)
	{
		ERR_clear_error();
		if (complete && !transport->no_notice && SSL_is_init_finished(transport->ssl))
			SSL_shutdown(transport->ssl);
		forget_tls(transport);
	}
	close(transport->fd);
}

ssize_t transport_receive_tls(struct transport *transport, void *bytes, size_t len)
{
	size_t got;
	int result;

	ERR_clear_error();
	errno = 0;
	result = SSL_read_ex(transport->ssl, bytes, len, &got);
	transport->wants_write = result != 1 && SSL_want_write(transport->ssl);
	return result == 1 ? (ssize_t)got : explain(transport, result);
}

bool transport_has_pending_tls(const struct transport *transport)
{
	return SSL_has_pending(transport->ssl) == 1;
}

/* Where in a list of vectors a sender is. */
struct cursor
{
	const struct iovec *vectors;
	size_t n;
	size_t sent; /* of the first vector */
};

static void skip(struct cursor *cursor, size_t bytes)
{
	while (cursor->n > 0 && bytes >= cursor->vectors->iov_len - cursor->sent)
	{
		bytes -= cursor->vectors->iov_len - cursor->sent;
		cursor->vectors++;
		cursor->n--;
		cursor->sent = 0;
	}
	cursor->sent += bytes;
}

/* The next record's bytes: those of a vector where it has enough of them, else gathered in `scratch`. */
static const char *next_record(struct cursor cursor, char *scratch, size_t *len)
{
	const char *first = (const char *)cursor.vectors->iov_base + cursor.sent;

	*len = 0;
	if (cursor.vectors->iov_len - cursor.sent >= RECORD_BYTES)
	{
		*len = RECORD_BYTES;
		return first;
	}
	while (cursor.n > 0 && *len < RECORD_BYTES)
	{
		size_t here = cursor.vectors->iov_len - cursor.sent;

		if (here > RECORD_BYTES - *len)
			here = RECORD_BYTES - *len;
		if (here > 0)
			memcpy(scratch + *len, (const char *)cursor.vectors->iov_base + cursor.sent, here);
		*len += here;
		skip(&cursor, here);
	}
	return scratch;
}

static ssize_t explain_unsent(struct transport *transport, int result)
{
	ssize_t verdict = explain(transport, result);

	if (verdict == 0 || SSL_want_read(transport->ssl))
		errno = EPROTO; /* see the top */
	return -1;
}

ssize_t transport_send_tls(struct transport *transport, const struct iovec *vectors, size_t n)
{
	struct cursor cursor = {.vectors = vectors, .n = n};
	char scratch[RECORD_BYTES];
	size_t total = 0;

	ERR_clear_error();
	errno = 0;
	for (int i = 0; i < MAX_RECORDS; i++)
	{
		const char *bytes;
		size_t len, sent;
		int result;

		skip(&cursor, 0); /* empty vectors */
		if (cursor.n == 0)
			break;
		bytes = next_record(cursor, scratch, &len);
		result = SSL_write_ex(transport->ssl, bytes, len, &sent);
		if (result != 1 && total == 0)
			return explain_unsent(transport, result);
		if (result != 1)
			break; /* the next call fails with the same */
		total += sent;
		skip(&cursor, sent);
	}
	return (ssize_t)total;
}

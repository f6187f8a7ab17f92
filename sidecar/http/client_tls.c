/*
 * client_tls.c: https for the commands (see client_internal.h).
 *
 * A server is trusted when its certificate leads to one of --ca-file, or else of this machine, and names the
 * host of the URL.  There is no way around it: a certificate of no known authority is trusted by naming it in
 * --ca-file.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>

#include "http/client_internal.h"

/* Why the last call failed, in words. */
static const char *explain(SSL *ssl)
{
	long verified = ssl != NULL ? SSL_get_verify_result(ssl) : X509_V_OK;
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);

	if (verified != X509_V_OK)
		return X509_verify_cert_error_string(verified);
	if (code == 0)
		return errno != 0 ? strerror(errno) : "the server closed the connection";
	return reason != NULL ? reason : "unknown error";
}

static bool fail(struct cli_http *http, const char *what, const char *name, const char *reason)
{
	snprintf(http->error, sizeof(http->error), "%s %s: %s", what, name, reason);
	return false;
}

/* ---- the socket -------------------------------------------------------------------- */

/*
 * OpenSSL's own way to use a socket ends this program by SIGPIPE when the server has hung up, which is to be
 * an error.  So it is told how to by three functions, see BIO_meth_new(3); a BIO's data is the connection.
 */
static struct cli_http *connection_of(BIO *bio)
{
	return BIO_get_data(bio);
}

/* What send or recv returned, in the form in which OpenSSL expects it. */
static int judge(BIO *bio, ssize_t moved, int retry)
{
	BIO_clear_retry_flags(bio);
	if (moved < 0 && BIO_sock_should_retry((int)moved))
		BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
	return (int)moved;
}

static int bio_send(BIO *bio, const char *bytes, int len)
{
	return judge(bio, send(connection_of(bio)->fd, bytes, (size_t)len, MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static int bio_receive(BIO *bio, char *bytes, int len)
{
	ssize_t got = recv(connection_of(bio)->fd, bytes, (size_t)len, 0);

	connection_of(bio)->ended = got == 0;
	return judge(bio, got, BIO_FLAGS_READ);
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
	(void)number;
	(void)pointer;
	if (command == BIO_CTRL_EOF)
		return connection_of(bio)->ended;
	return command == BIO_CTRL_FLUSH;
}

/* NULL: out of memory. */
static BIO *new_socket_bio(struct cli_http *http)
{
	static BIO_METHOD *method;
	BIO *bio;

	if (method == NULL)
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
	if (method == NULL || BIO_meth_set_read(method, bio_receive) != 1 ||
		BIO_meth_set_write(method, bio_send) != 1 || BIO_meth_set_ctrl(method, bio_control) != 1)
		return NULL;
	bio = BIO_new(method);
	if (bio == NULL)
		return NULL;
	BIO_set_data(bio, http);
	BIO_set_init(bio, 1);
	return bio;
}

/* ---- connecting --------------------------------------------------------------------- */

static SSL_CTX *new_context(struct cli_http *http, const char *ca_file)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1)
	{
		fail(http, "cannot set up", "TLS", explain(NULL));
		SSL_CTX_free(context);
		return NULL;
	}
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	errno = 0;
	if (ca_file == NULL)
		SSL_CTX_set_default_verify_paths(context);
	else if (SSL_CTX_load_verify_locations(context, ca_file, NULL) != 1)
	{
		http->wrong_settings = true;
		fail(http, "--ca-file", ca_file, errno != 0 ? strerror(errno) : "there is no PEM certificate in it");
		SSL_CTX_free(context);
		return NULL;
	}
	return context;
}

/* The certificate must name the host, and the server may choose it by the name. */
static bool set_host(SSL *ssl, const char *host)
{
	unsigned char address[16];

	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

bool cli_tls_start(struct cli_http *http, const char *url, const char *host, const char *ca_file)
{
	static const unsigned char protocols[] = "\x08http/1.1";
	SSL_CTX *context;
	BIO *bio;

	ERR_clear_error();
	context = new_context(http, ca_file);
	if (context == NULL)
		return false;
	http->ssl = SSL_new(context);
	SSL_CTX_free(context); /* the connection holds on to it */
	bio = new_socket_bio(http);
	if (http->ssl == NULL || bio == NULL)
	{
		BIO_free(bio);
		return fail(http, "cannot connect to", url, "out of memory");
	}
	SSL_set_bio(http->ssl, bio, bio);
	errno = 0;
	if (!set_host(http->ssl, host) || SSL_set_alpn_protos(http->ssl, protocols, sizeof(protocols) - 1) != 0 ||
		SSL_connect(http->ssl) != 1)
		return fail(http, "cannot connect to", url, explain(http->ssl));
	return true;
}

void cli_tls_end(struct cli_http *http)
{
	if (http->ssl != NULL)
		SSL_free(http->ssl);
	http->ssl = NULL;
	ERR_clear_error();
}

/* ---- bytes --------------------------------------------------------------------------- */

/*
 * What a call that returned `result` means, as recv and send would say it.  An end of the connection that the
 * server did not announce is a failure: any machine on the way can make one.
 */
static ssize_t verdict(struct cli_http *http, int result)
{
	switch (SSL_get_error(http->ssl, result))
	{
		case SSL_ERROR_WANT_READ:
		case SSL_ERROR_WANT_WRITE:
			errno = EAGAIN;
			return -1;
		case SSL_ERROR_ZERO_RETURN:
			return 0;
		case SSL_ERROR_SYSCALL:
			if (errno == 0)
				errno = ECONNRESET;
			return -1;
		default:
			errno = EPROTO;
			return -1;
	}
}

ssize_t cli_tls_receive(struct cli_http *http, void *bytes, size_t len)
{
	size_t got;
	int result;

	ERR_clear_error();
	errno = 0;
	result = SSL_read_ex(http->ssl, bytes, len, &got);
	return result == 1 ? (ssize_t)got : verdict(http, result);
}

ssize_t cli_tls_send(struct cli_http *http, const void *bytes, size_t len)
{
	size_t sent;
	int result;

	ERR_clear_error();
	errno = 0;
	result = SSL_write_ex(http->ssl, bytes, len, &sent);
	return result == 1 ? (ssize_t)sent : verdict(http, result);
}

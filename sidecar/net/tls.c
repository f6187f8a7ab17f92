/*
 * tls.c: reads certificate and key, and settles what is spoken (see tls.h).
 *
 * TLS 1.2 and 1.3; of 1.2 only the ciphers with forward secrecy and authenticated encryption.  No
 * renegotiation, no compression, no early data (a replayed append would be one more).  Sessions are resumed
 * by tickets, which the client keeps, so nothing grows here.  Buffers are given back while a connection is
 * idle.  No read-ahead: it would save a system call a request, but a client that sends fast enough would
 * always have more pending than one record, and keep its worker from all other connections.
 */
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define TLS_1_2_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

#ifndef SSL_OP_IGNORE_UNEXPECTED_EOF /* before OpenSSL 3 it was no error */
#define SSL_OP_IGNORE_UNEXPECTED_EOF 0
#endif

struct tls
{
	const char *certificate, *key; /* the files' names */
	pthread_mutex_t lock;		   /* of context */
	SSL_CTX *context;
	struct tls_facts facts; /* the main thread's */
};

const char *tls_reason(void)
{
	unsigned long code = ERR_peek_error(); /* the first: later ones are of the functions that called it */
	const char *reason = ERR_reason_error_string(code);

	if (code == 0)
		return errno != 0 ? strerror(errno) : "the other side closed the connection";
	return reason != NULL ? reason : "unknown error";
}

static bool failed_for(int library, int reason)
{
	unsigned long code = ERR_peek_error();

	return ERR_GET_LIB(code) == library && ERR_GET_REASON(code) == reason;
}

/* ---- the files ------------------------------------------------------------ */

static bool fail(struct buf *error, const char *flag, const char *file, const char *reason)
{
	buf_printf(error, "%s %s: %s", flag, file, reason);
	return false;
}

/* Says of a file that is not there what the system says: OpenSSL has no words for it. */
static bool check_readable(const char *flag, const char *file, struct buf *error)
{
	struct stat facts;

	if (access(file, R_OK) != 0 || stat(file, &facts) != 0)
		return fail(error, flag, file, strerror(errno));
	return !S_ISDIR(facts.st_mode) || fail(error, flag, file, strerror(EISDIR));
}

static void warn_about_certificate(SSL_CTX *context, const char *file)
{
	const ASN1_TIME *end = X509_get0_notAfter(SSL_CTX_get0_certificate(context));

	if (X509_cmp_current_time(end) < 0)
		log_warning("--tls-cert %s: the certificate has expired", file);
}

static int64_t end_of_certificate(SSL_CTX *context)
{
	struct tm end = {0};

	return ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(context)), &end) == 1 ? timegm(&end)
																							 : 0;
}

static bool load_certificate(SSL_CTX *context, const char *file, struct buf *error)
{
	if (!check_readable("--tls-cert", file, error))
		return false;
	if (SSL_CTX_use_certificate_chain_file(context, file) != 1)
		return fail(error, "--tls-cert", file,
					failed_for(ERR_LIB_PEM, PEM_R_NO_START_LINE) ? "there is no PEM certificate in it"
																 : tls_reason());
	warn_about_certificate(context, file);
	return true;
}

/* OpenSSL would ask the terminal. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
	(void)out;
	(void)size;
	(void)writing;
	*(bool *)arg = true;
	return -1;
}

static bool load_key(SSL_CTX *context, const char *file, const char *certificate, struct buf *error)
{
	struct stat facts;
	bool encrypted = false;

	if (!check_readable("--tls-key", file, error))
		return false;
	if (stat(file, &facts) == 0 && (facts.st_mode & S_IRWXO) != 0)
		log_warning("--tls-key %s: every user of this machine can read the key; chmod o= it", file);
	SSL_CTX_set_default_passwd_cb(context, no_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(context, &encrypted);
	if (SSL_CTX_use_PrivateKey_file(context, file, SSL_FILETYPE_PEM) == 1 &&
		SSL_CTX_check_private_key(context) == 1)
		return true;
	if (encrypted)
		return fail(error, "--tls-key", file, "the key has a passphrase; a server needs one without");
	if (failed_for(ERR_LIB_X509, X509_R_KEY_VALUES_MISMATCH) ||
		failed_for(ERR_LIB_X509, X509_R_KEY_TYPE_MISMATCH))
	{
		buf_printf(error, "--tls-key %s: is not the key of the certificate in --tls-cert %s", file,
				   certificate);
		return false;
	}
	return fail(error, "--tls-key", file, "there is no private key in it, in PEM, that can be used");
}

/* ---- the context ------------------------------------------------------------ */

/* HTTP/1.1 is what we speak; a client that names only others is told so. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *outlen,
						   const unsigned char *offered, unsigned int offered_len, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto((unsigned char **)out, outlen, ours, sizeof(ours) - 1, offered, offered_len) !=
		OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *read_context(const struct tls *tls, struct buf *error)
{
	SSL_CTX *context;

	ERR_clear_error();
	context = SSL_CTX_new(TLS_server_method());
	if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
		SSL_CTX_set_cipher_list(context, TLS_1_2_CIPHERS) != 1)
	{
		SSL_CTX_free(context);
		buf_printf(error, "cannot set up TLS: %s", tls_reason());
		return NULL;
	}
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
									 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
								  SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
	if (load_certificate(context, tls->certificate, error) &&
		load_key(context, tls->key, tls->certificate, error))
		return context;
	SSL_CTX_free(context);
	ERR_clear_error();
	return NULL;
}

static void take_context(struct tls *tls, SSL_CTX *context)
{
	tls->context = context;
	tls->facts.expires = end_of_certificate(context);
	tls->facts.loaded = clock_calendar().tv_sec;
}

struct tls_facts tls_facts(const struct tls *tls)
{
	return tls->facts;
}

struct tls *tls_new(const char *certificate, const char *key, struct buf *error)
{
	struct tls *tls = calloc(1, sizeof(*tls));
	SSL_CTX *context;

	if (tls == NULL)
	{
		buf_add_str(error, "out of memory");
		return NULL;
	}
	tls->certificate = certificate;
	tls->key = key;
	context = read_context(tls, error);
	if (context == NULL)
	{
		free(tls);
		return NULL;
	}
	take_context(tls, context);
	pthread_mutex_init(&tls->lock, NULL);
	return tls;
}

bool tls_reload(struct tls *tls, struct buf *error)
{
	SSL_CTX *context = read_context(tls, error);
	SSL_CTX *old;

	tls->facts.reload_failed = context == NULL;
	if (context == NULL)
		return false;
	pthread_mutex_lock(&tls->lock);
	old = tls->context;
	take_context(tls, context);
	pthread_mutex_unlock(&tls->lock);
	SSL_CTX_free(old);
	return true;
}

void tls_free(struct tls *tls)
{
	if (tls == NULL)
		return;
	SSL_CTX_free(tls->context);
	pthread_mutex_destroy(&tls->lock);
	free(tls);
}

struct ssl_st *tls_accept(struct tls *tls, int fd)
{
	SSL *ssl;

	pthread_mutex_lock(&tls->lock);
	ssl = SSL_new(tls->context);
	pthread_mutex_unlock(&tls->lock);
	if (ssl == NULL || SSL_set_fd(ssl, fd) != 1)
	{
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_accept_state(ssl);
	return ssl;
}
